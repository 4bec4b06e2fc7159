"""The texts, their split, the tokenizer, and the sequences that training draws from them."""

import dataclasses
import hashlib
import json
import lzma
import os
import pathlib

import ftfy
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS = "<|endoftext|>"
HELD_OUT_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text: its file, its licence, the line where it begins (what precedes it is a transcriber's
    note), and its share of the training sequences."""

    name: str
    file: str
    licence: str
    share: float
    first_line: str | None = None


CORPORA = (
    Corpus("kjv", "kjv.txt", "public domain", 0.26),
    Corpus("mobydick", "mobydick.txt", "public domain", 0.16, "ETYMOLOGY."),
    Corpus("opticks", "opticks.txt", "public domain", 0.10, "OPTICKS:"),
    Corpus("sherlock", "sherlock.txt", "public domain", 0.13),
    Corpus("tinyshakespeare", "tinyshakespeare.txt", "public domain", 0.15),
    Corpus("tinystories", "tinystories_1000.json", "CDLA-Sharing-1.0", 0.20),
)


@dataclasses.dataclass(frozen=True)
class Split:
    """Documents of one text: those trained on and those held out."""

    corpus: Corpus
    train: list[str]
    held_out: list[str]


def read_split(folder: pathlib.Path, corpus: Corpus) -> Split:
    """Holds out the last 5%: of the characters of a book, of the stories of a collection."""
    text = (folder / corpus.file).read_text(encoding="utf-8")
    if corpus.file.endswith(".json"):
        # The stories hold quotes in UTF-8 that were once read as Windows-1252.
        stories = [ftfy.fix_text(story).strip() for story in json.loads(text)]
        cut = round(len(stories) * (1 - HELD_OUT_SHARE))
        return Split(corpus, stories[:cut], stories[cut:])
    if corpus.first_line:
        text = text[text.index(corpus.first_line + "\n") :]
    cut = text.index("\n", round(len(text) * (1 - HELD_OUT_SHARE))) + 1
    return Split(corpus, [text[:cut]], [text[cut:]])


def read_splits(folder: pathlib.Path) -> list[Split]:
    return [read_split(folder, corpus) for corpus in CORPORA]


def describe_files(folder: pathlib.Path) -> list[dict]:
    """Name, size, SHA-256 and licence of each file, for the card."""
    return [
        {
            "file": corpus.file,
            "bytes": (folder / corpus.file).stat().st_size,
            "sha256": hashlib.sha256((folder / corpus.file).read_bytes()).hexdigest(),
            "licence": corpus.licence,
        }
        for corpus in CORPORA
    ]


def xz_bits_per_byte(documents: list[str]) -> float:
    """What `xz -9e` needs for the documents, joined by line feeds."""
    raw = "\n".join(documents).encode()
    return 8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)) / len(raw)


def train_tokenizer(splits: list[Split], vocab_size: int, path: pathlib.Path) -> Tokenizer:
    """Byte-level BPE in the manner of GPT-2, from the training part only; `BOS`, id 0, begins texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for split in splits for text in split.train), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    temporary = path.with_name(path.name + ".part")
    tokenizer.save(str(temporary))
    os.replace(temporary, path)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: list[str]) -> np.ndarray:
    """Each document behind a BOS, in one row of ids."""
    bos = tokenizer.token_to_id(BOS)
    ids: list[int] = []
    for document in documents:
        ids += [bos, *tokenizer.encode(document, add_special_tokens=False).ids]
    return np.array(ids, dtype=np.int64)


class TextSampler:
    """Windows of text: BOS and what follows a random place of a random text."""

    def __init__(self, tokenizer: Tokenizer, splits: list[Split]):
        self.bos = tokenizer.token_to_id(BOS)
        self.rows = [encode(tokenizer, split.train) for split in splits]
        self.starts = [np.flatnonzero(row == self.bos) for row in self.rows]
        shares = np.array([split.corpus.share for split in splits])
        self.shares = shares / shares.sum()

    def draw(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """-> ids [length]. In a collection, a window starts where a document does."""
        which = rng.choice(len(self.rows), p=self.shares)
        row, starts = self.rows[which], self.starts[which]
        last = len(row) - length
        starts = starts[starts <= last]
        start = rng.choice(starts) if len(starts) > 1 else rng.integers(0, last)
        return np.concatenate([[self.bos], row[start + 1 : start + length]])


def repeats(
    rng: np.random.Generator, alphabet: np.ndarray, length: int, span: int, gap: int
) -> tuple[np.ndarray, np.ndarray]:
    """A span of random tokens again and again, with `gap` other random tokens between.

    -> ids [length], and which of them follow from what stands before them: bool [length].
    The first token of a repeat is not one of those: where it begins is chance.
    """
    times = -(-length // (span + gap))
    pattern = rng.choice(alphabet, span)
    ids = [np.concatenate([pattern, rng.choice(alphabet, gap)]) for _ in range(times)]
    known = np.tile(np.arange(span + gap) % span > 0, (times, 1)) & (np.arange(span + gap) < span)
    known[0] = False
    return np.concatenate(ids)[:length], known.flatten()[:length]


def draw_copy(
    rng: np.random.Generator, alphabet: np.ndarray, length: int, longest: int, bos: int
) -> tuple[np.ndarray, np.ndarray]:
    """BOS and what only copying predicts: spans of 8 to `longest`, at random distances.

    -> ids [length], known [length], as in `repeats`.
    """
    span = round(float(np.exp(rng.uniform(np.log(8), np.log(longest)))))
    gap = 0 if rng.random() < 0.5 else round(rng.random() * max(8, (length - 2 * span) / 2))
    ids, known = repeats(rng, alphabet, length - 1, span, gap)
    return np.concatenate([[bos], ids]), np.concatenate([[False], known])


def copy_test(
    rng: np.random.Generator, vocab_size: int, bos: int, count: int, span: int = 128
) -> np.ndarray:
    """BOS and `span` tokens, uniform over all but BOS, twice: ids [count, 1 + 2 span]."""
    half = rng.choice(np.delete(np.arange(vocab_size), bos), (count, span))
    return np.concatenate([np.full((count, 1), bos), half, half], axis=1)


@dataclasses.dataclass(frozen=True)
class Window:
    """BOS and a stretch of held-out text, with the bytes that its tokens (not BOS) stand for."""

    ids: torch.Tensor
    size_bytes: int
    document: int


def windows(tokenizer: Tokenizer, documents: list[str], length: int) -> list[Window]:
    """Cuts documents into windows of up to `length` ids, BOS included, that do not overlap."""
    bos = tokenizer.token_to_id(BOS)
    result = []
    for number, document in enumerate(documents):
        encoding = tokenizer.encode(document, add_special_tokens=False)
        # Bytes of a token: its letters, each of which stands for one byte.
        sizes = [len(token) for token in encoding.tokens]
        for i in range(0, len(sizes), length - 1):
            ids = torch.tensor([bos, *encoding.ids[i : i + length - 1]])
            result.append(Window(ids, sum(sizes[i : i + length - 1]), number))
    return result
