"""Tokenizers as the families of models have them, trained here: a function for each."""

# ruff: noqa: RUF001

import base64
import json
import pathlib

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
    trainers,
)
from tokenizers import pre_tokenizers as pre

ROOT = pathlib.Path(__file__).parents[2]

SENTENCES = [
    "A café in Zürich, naïve façades, the Ångström: Ελλάδα, Москва, שלום, مرحبا, नमस्ते.",
    "今日はいい天気です。東京の朝は早い。你好，世界！中文没有空格。 안녕하세요 세계",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\r\n\t\tif (sum > 9) break;\n    }\n\n\n",
    "I'm sure they've said she'd go; it isn't what we'll do, and you're right: DON'T!",
    "🙂 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ... --- !!! ??? (((a))) [[b]] {{c}} <d> </d> a@b.org https://x.org/y?z=1&w=2",
]

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = (
    CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def texts() -> list[str]:
    """The project's own pages, and sentences in many scripts."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [page.read_text(encoding="utf-8") for page in pages] + SENTENCES * 4


def trained_bpe(tokenizer: Tokenizer, special: list[str], alphabet: list[str]) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def byte_level(splitter, special, normalizer=None, **model) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return trained_bpe(tokenizer, special, pre.ByteLevel.alphabet())


def split(pattern: str, behavior: str = "isolated", invert: bool = False):
    return pre.Sequence(
        [
            pre.Split(Regex(pattern), behavior, invert),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def around(tokenizer: Tokenizer, template: str):
    names = [name for name in template.split() if name != "$A"]
    return processors.TemplateProcessing(
        single=template, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )


def gpt2():
    return byte_level(pre.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])


def bart():
    tokenizer = byte_level(pre.ByteLevel(add_prefix_space=False), ["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def gpt_neox():
    tokenizer = byte_level(
        pre.ByteLevel(add_prefix_space=False), ["<|endoftext|>", "<|padding|>"], normalizers.NFC()
    )
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return tokenizer


def bloom():
    tokenizer = byte_level(split(BLOOM), ["<unk>", "<s>", "</s>", "<pad>"])
    tokenizer.enable_padding(direction="left", pad_id=3, pad_token="<pad>")
    return tokenizer


def llama3():
    tokenizer = byte_level(split(CL100K), ["<|begin_of_text|>", "<|eot_id|>"], ignore_merges=True)
    template = around(tokenizer, "<|begin_of_text|> $A")
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), template]
    )
    return tokenizer


def qwen2():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = byte_level(split(QWEN2), special, normalizers.NFC())
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return tokenizer


def olmo2():
    return byte_level(split(CL100K, "removed", True), ["<|endoftext|>", "<|pad|>"])


def mistral_nemo():
    tokenizer = byte_level(split(TEKKEN), ["<unk>", "<s>", "</s>", "[INST]"], ignore_merges=True)
    tokenizer.post_processor = around(tokenizer, "<s> $A")
    return tokenizer


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_bpe(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre.Metaspace()
    tokenizer = trained_bpe(tokenizer, [*special, *BYTES], [])
    file = json.loads(tokenizer.to_str())  # bytes are no special tokens
    file["added_tokens"] = file["added_tokens"][: len(special)]
    file["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(file))


def spaces_again(*rest):
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *rest]
    return decoders.Sequence(steps)


def llama2():
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = spaces_again(decoders.Strip(" ", 1, 0))
    tokenizer.post_processor = around(tokenizer, "<s> $A")
    return tokenizer


def phi3():
    tokenizer = llama2()
    tokenizer.add_special_tokens(
        [AddedToken(name, rstrip=True, normalized=False) for name in ["<|user|>", "<|end|>"]]
    )
    return tokenizer


def mistral():
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"])
    tokenizer.pre_tokenizer = pre.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = spaces_again(decoders.Strip(" ", 1, 0))
    tokenizer.post_processor = around(tokenizer, "<s> $A")
    return tokenizer


def gemma():
    tokenizer = sentencepiece_bpe(["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    tokenizer.decoder = spaces_again()
    tokenizer.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(2, 8)])
    tokenizer.add_tokens([AddedToken("▁" * n, normalized=False) for n in range(2, 8)])
    tokenizer.post_processor = around(tokenizer, "<bos> $A")
    return tokenizer


def unigram(special: list[str], normalizer, splitter) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=1200, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = around(tokenizer, "$A </s>")
    return tokenizer


def charsmap():
    file = json.loads((ROOT / "tests" / "golden" / "tokenizer" / "unigram.json").read_text())
    return normalizers.Precompiled(base64.b64decode(file["normalizer"]["precompiled_charsmap"]))


def t5():
    special = ["<pad>", "</s>", "<unk>", "<extra_id_1>", "<extra_id_0>"]
    words = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    return unigram(special, charsmap(), words)


def marian():
    steps = [charsmap(), normalizers.Replace(Regex(" {2,}"), " ")]
    return unigram(["</s>", "<unk>"], normalizers.Sequence(steps), pre.Metaspace())


def unigram_with_bytes():
    tokenizer = unigram(["<unk>", "<s>", "</s>", *BYTES], normalizers.NFKC(), pre.Metaspace())
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["model"]["byte_fallback"] = True
    steps = [decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


FAMILIES = [
    gpt2,
    bart,
    gpt_neox,
    bloom,
    llama3,
    qwen2,
    olmo2,
    mistral_nemo,
    llama2,
    phi3,
    mistral,
    gemma,
    t5,
    marian,
    unigram_with_bytes,
]
