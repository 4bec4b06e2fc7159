"""Tokenizers of each family against the `tokenizers` library: random Unicode, and long texts."""

import os
import pathlib
import random
import unicodedata

import pytest
import tokenizer_families

import rapt

PROJECT = pathlib.Path(__file__).parents[2]
DATA = pathlib.Path(os.environ.get("RAPT_TEST_DATA", PROJECT.parent / "shared" / "data"))
LONG_TEXTS = sorted([*PROJECT.glob("docs/*.md"), *DATA.glob("corpora/*")])
COUNT = 10_000
CORPUS_CHARACTERS = 100_000  # of each file

# What the library and ICU normalise differently, as they know different versions of Unicode
# (docs/tokenizers.md).
NEWER = (
    "07FD 0898-089F 08CA-08D3 09FE 0C3C 0D3B-0D3C 0EBA 1715 1ABF-1ACE 1DF6-1DFA 32FF "
    "A7F2-A7F4 A82C AB69 10781-107BA 10D24-10D27 10EAB-10EAC 10EFD-10EFF 10F46-10F50 "
    "10F82-10F85 11070 1133B 1145E 11839-1183A 1193D-1193E 11943 119E0 11A34 11A47 11A99 "
    "11D42 11D44-11D45 11D97 11F41-11F42 16FF0-16FF1 1E030-1E06D 1E08F 1E130-1E136 1E2AE "
    "1E2EC-1E2EF 1E4EC-1E4EF 1F16C 1FBF0-1FBF9"
)
SURROGATES = "D800-DFFF"

# Byte-level tokenizers without a normalizer give back every text that has no special token.
LOSSLESS = {"gpt2", "bart", "bloom", "llama3", "olmo2", "mistral_nemo"}

SPECIAL = (
    "<s> </s> <unk> <pad> <mask> <|endoftext|> <|begin_of_text|> <|eot_id|> <|im_start|> "
    "<|im_end|> <tool_call> [INST] [/INST] <|user|> <|end|> <bos> <start_of_turn> <extra_id_0> "
    "<|pad|> <|padding|> <eos> <0x0A> <|endoftext <extra_id_"
).split()

RANGES = [
    (0x20, 0x7E),
    (0x20, 0x7E),
    (0x00, 0x9F),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x370, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x33FF),
    (0x3400, 0xDFFF),
    (0xE000, 0xFFFF),
    (0x1D400, 0x1D7FF),
    (0x1F000, 0x1FAFF),
    (0x10000, 0x2FFFF),
    (0x30000, 0x10FFFF),
]
WHITE = " \t\n\r\v\f\x85\u00a0\u1680\u2003\u2028\u2029\u3000"


def code_points(ranges: str) -> set[int]:
    ends = [[int(end, 16) for end in each.split("-")] for each in ranges.split()]
    return {code for each in ends for code in range(each[0], each[-1] + 1)}


LEFT_OUT = code_points(NEWER) | code_points(SURROGATES)
MARKS = [chr(c) for c in range(0x2000) if unicodedata.combining(chr(c)) and c not in LEFT_OUT]
MARKS += ["\u200d", "\ufe0f"]


def character(source: random.Random) -> str:
    while True:
        code = source.randint(*source.choice(RANGES))
        if code not in LEFT_OUT:
            return chr(code)


def stretch(source: random.Random, words: list[str]) -> str:
    """A few characters of one kind."""
    kind = source.randrange(8)
    if kind < 3:
        return " ".join(source.choices(words, k=source.randint(1, 4)))
    if kind == 3:
        return source.choice(WHITE if source.random() < 0.3 else " ") * source.randint(1, 40)
    if kind == 4:
        return character(source) + "".join(source.choices(MARKS, k=source.randint(1, 5)))
    if kind == 5:
        return "".join(source.choices(WHITE, k=source.randint(1, 4)))
    if kind == 6:
        return source.choice(SPECIAL)
    return "".join(character(source) for _ in range(source.randint(1, 12)))


@pytest.fixture(scope="module")
def strings() -> list[str]:
    source = random.Random(1)
    words = " ".join(tokenizer_families.texts()).split()
    return [
        "".join(stretch(source, words) for _ in range(source.randint(1, 6))) for _ in range(COUNT)
    ]


@pytest.fixture(scope="module", params=tokenizer_families.FAMILIES, ids=lambda make: make.__name__)
def pair(request, tmp_path_factory):
    """The library's tokenizer of a family, and rapt's of the same file."""
    library = request.param()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    library.save(str(path))
    return request.param.__name__, library, rapt.Tokenizer.load(path)


def test_random_unicode_is_as_the_library_has_it(pair, strings):
    family, library, tokenizer = pair
    special = [token.content for token in library.get_added_tokens_decoder().values()]
    round_trips = 0
    for text in strings:
        ids = library.encode(text).ids
        assert tokenizer.encode(text) == ids, ascii(text)
        decoded = tokenizer.decode(ids)
        assert decoded == library.decode(ids), ascii(text)
        if family in LOSSLESS and not any(token in text for token in special):
            assert decoded == text
            round_trips += 1
    assert round_trips > COUNT // 4 or family not in LOSSLESS


def test_long_texts_are_as_the_library_has_them(pair):
    _, library, tokenizer = pair
    assert LONG_TEXTS
    for file in LONG_TEXTS:
        text = file.read_text(encoding="utf-8")[:CORPUS_CHARACTERS]
        ids = library.encode(text).ids
        assert tokenizer.encode(text) == ids, file
        assert tokenizer.decode(ids) == library.decode(ids), file
