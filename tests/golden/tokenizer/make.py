#!/usr/bin/env python3
"""Makes the files beside it: small tokenizer.json files, and expected.json, what the `tokenizers`
library makes of many texts with them and with variants of them.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    python3 make.py

A variant is a base file with a JSON merge patch (RFC 7396), so that the test can make it, too.
"""

import base64
import copy
import io
import json
import pathlib
import random
import tempfile
import unicodedata

import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

HERE = pathlib.Path(__file__).parent

SENTENCES = [
    "The miller's daughter didn't know what she'd find; they're all there, I'll say, and we've won.",
    "In 1999, 12345 sheep and 67 goats crossed the old bridge at 08:15 every morning.",
    "A café in Zürich, naïve façades, the Ångström: Ελλάδα, Москва, שלום, مرحبا, नमस्ते.",
    "今日はいい天気です。東京の朝は早い。你好，世界！中文没有空格。 안녕하세요 세계",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\r\n\t\tif (sum > 100) break;\n    }\n\n\n",
    "Once upon a time there was a little rabbit who wanted to see the other side of the hill.",
    "The rabbit asked the bird, the bird asked the wind, and the wind asked the other rabbit.",
    "🙂 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ... --- !!! ??? (((a))) [[b]] {{c}} <d> </d> a@b.org https://x.org/y?z=1&w=2",
]

TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "The other rabbit asked the little bird.",
    "I'm you're he's she'd they'll we've isn't 'tis O'CLOCK DON'T I'M WE'VE'S 'S'",
    "it\u2019s 'ſ 'K '\u212a",
    "0 12 345 6789 1234567890 3.14 1,000,000 x2 2x ²³ ½ Ⅷ ٣٤٥ १२३",
    "今日は東京。你好,世界! 안녕하세요",
    "🙂👍🏽👨‍👩‍👧‍👦🇩🇪❤️ 🙂 🙂",
    "cafe\u0301 caf\u00e9 A\u030angstro\u0308m \u212b \u1e9b\u0323 q\u0307\u0323 \ufb01 \uff21\uff11 \u2460 \u3392",
    "\u1112\u1161\u11ab\u1100\u1173\u11af 한글 \u0958 \u2126 \u0344",
    "line one\r\nline two\r\n\r\n  indented\n\n\nend\n",
    "a  b   c    d     e          f",
    "   leading and trailing   ",
    "\t\ttabs\tand \t mixed \t\n \n\t end",
    "nul\x00in\x00 \x01\x02\x7f\x1b[0m bell\x07 \x85 next",
    "no\u00a0break\u2003em\u3000wide\u2028line\u2029para\u200bzero\ufeffbom\u180emvs",
    "<|endoftext|>",
    "a<|endoftext|>b <|endoftext|> c<|endoftext|><|endoftext|>",
    "<|endoftext|",
    "x <mask> y<mask>z  <mask>\t\n<mask> ",
    "the word and sword words word-word word_word éword word1 (word) word",
    "<tool> a <tool>b<tool> < tool>",
    "tool call  tool call\ntool call",
    "ĠHello Ċ Ġ ▁ ▁▁a ▁b",
    "  <s> hi </s> ",
    "ΑΣ ΣΑΣ. İstanbul ǅ ẞ ß STRASSE Ǆ ΌΣΟΣ",
    "a\u0300\u0301\u0302\u0303b \u0300 \u200d \u00ad",
    "price: $5.00 €7 £8 ¥9 50% #1 @me & ~ ^ ` | \\ /",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "rabbitrabbitrabbit therethere asked.asked,asked",
    "don't\n'll\n\n's 're\r've",
    "def f(x):\n    return x  # done\n",
    "ab12cd345 6e7 8 9.0",
    "\U0001d518\U0001d7ce \U00020000 \U0010ffff \ue000",
    "▁▁▁ the▁other ▁",
    "word",
    "<mask>",
    " <mask>",
    "½ ½\u0301x ½\u0301\u0301 \r\n\u0301 ﬁ\u0301 e\u0301\u0301 \ufdfa\u200b\x01\x00½",
    "<unk><unk> <pad>Ж<unk>Ж",
]

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
         r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def trained(tokenizer, size, special, alphabet):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False,
                                  initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def byte_level(size, pre_tokenizer, normalizer=None, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, size, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def gpt2():
    tokenizer = byte_level(420, pre_tokenizers.ByteLevel(add_prefix_space=False))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def llama3():
    tokenizer = byte_level(420, split(LLAMA3), ignore_merges=True)
    first = processors.TemplateProcessing(single="<|endoftext|> $A",
                                          special_tokens=[("<|endoftext|>", 0)])
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), first])
    return tokenizer


def qwen():
    tokenizer = byte_level(420, split(QWEN), normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def sentencepiece_bpe():
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = trained(tokenizer, 420, special, [])
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]  # bytes are no special tokens
    return Tokenizer.from_str(json.dumps(file))


# What SentencePiece's nmt_nfkc does, for a few characters of each kind.
MAPPED = {"\t": " ", "\n": " ", "\r": " ", "\x01": "", "\x7f": "", "\u200b": " ", "\ufeff": "",
          "e\u0301": "\u00e9", "A\u030a": "\u00c5", "o\u0308": "\u00f6"}
MAPPED |= {c: unicodedata.normalize("NFKC", c)
           for c in "\u00a0\u00bd\u00b2\u00b3\u212b\u2126\u2167\u2460\u3000\u3392\ufb01\ufdfa\uff21\uff11"
           "\u0344\u0958\u1e9b\u2026\U0001d518\U0001d7ce"}


def wire_fields(message):
    """Numbers and values of a protocol buffer's fields, bytes where they have a length."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
        if size == 0:
            yield tag >> 3, varint()
            continue
        size = varint() if size is None else size
        yield tag >> 3, message[at:at + size]
        at += size


def charsmap():
    def code_points(text):
        return " ".join(f"{ord(c):X}" for c in text)

    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        for text, mapped in MAPPED.items():
            rules.write(f"{code_points(text)}\t{code_points(mapped)}\n")
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=300,
            hard_vocab_limit=False, normalization_rule_tsv=rules.name, minloglevel=2)
    normalizer = dict(wire_fields(model.getvalue()))[3]
    return base64.b64encode(dict(wire_fields(normalizer))[2]).decode()


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Precompiled(base64.b64decode(charsmap()))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=["<pad>", "</s>", "<unk>"],
                                      unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


BASES = {"gpt2": gpt2, "llama3": llama3, "qwen": qwen, "sentencepiece": sentencepiece_bpe,
         "unigram": unigram}


def added(token, content, **flags):
    defaults = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": False}
    return {"id": token, "content": content, **defaults, **flags}


def with_added(base, *tokens):
    return {"added_tokens": base["added_tokens"] + list(tokens)}


def split_step(pattern, behavior, invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*steps):
    last = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [*steps, last], "pattern": None,
                              "behavior": None, "invert": None}}


def normalizer(*steps):
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


def byte_level_variants(files):
    base = files["gpt2"]
    prefix = {"pre_tokenizer": {"add_prefix_space": True}}
    yield "prefix space", "gpt2", prefix
    yield "o200k pattern", "llama3", {
        "pre_tokenizer": sequence(split_step(O200K, "Isolated"))["pre_tokenizer"]}
    yield "merges before words", "llama3", {"model": {"ignore_merges": False}}
    yield "pairs as text", "gpt2", {
        "model": {"merges": [" ".join(pair) for pair in base["model"]["merges"]]}}
    yield "no type", "gpt2", {"model": {"type": None}}
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            yield f"split {behavior} {invert}", "gpt2", sequence(
                split_step(r"[\s,.]", behavior, invert))
    yield "split text", "gpt2", sequence(split_step(" ", "MergedWithNext", kind="String"))
    yield "split words", "gpt2", sequence(split_step(r"\w+|[^\w\s]+", "Isolated"))
    yield "split scripts", "gpt2", sequence(split_step(r"[\p{Han}\p{Hiragana}]+|\p{Greek}", "Removed"))
    yield "split lines", "gpt2", sequence(split_step(r"^.|.$", "Isolated"))
    yield "split sets within sets", "gpt2", sequence(
        split_step(r" ?[^(\s|[.,!?…。，、।۔،])]+", "Isolated"))
    yield "split empty", "gpt2", sequence(split_step(r"b|(?=a)", "Isolated"))
    for individual in [False, True]:
        yield f"digits {individual}", "gpt2", sequence(
            {"type": "Digits", "individual_digits": individual})
    for form in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"]:
        yield form, "gpt2", {"normalizer": {"type": form}}
    for left, right in [(True, False), (False, True), (True, True)]:
        yield f"strip {left} {right}", "gpt2", {
            "normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}
    yield "normalizers", "gpt2", normalizer(
        {"type": "NFKC"}, {"type": "Lowercase"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Replace", "pattern": {"String": "rabbit"}, "content": "hare"},
        {"type": "Prepend", "prepend": "_"})
    mask = len(base["model"]["vocab"])
    for kind in ["BertProcessing", "RobertaProcessing"]:
        yield kind, "gpt2", {"post_processor": {
            "type": kind, "sep": ["<|endoftext|>", 0], "cls": ["!", 1], "trim_offsets": True,
            "add_prefix_space": False}}
    yield "padding", "gpt2", {"padding": {
        "strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "<|endoftext|>"}}
    for name, flags in [("plain", {}), ("lstrip", {"lstrip": True}), ("rstrip", {"rstrip": True}),
                        ("both", {"lstrip": True, "rstrip": True}), ("special", {"special": True}),
                        ("normalized", {"normalized": True})]:
        yield f"mask {name}", "gpt2", prefix | with_added(
            base, added(mask, "<mask>", **flags), added(mask + 1, "<mask><mask>"))
    yield "single word", "gpt2", with_added(base, added(mask, "word", single_word=True),
                                            added(mask + 1, "word1"))
    yield "single word, spaces", "gpt2", with_added(
        base, added(mask, "word", single_word=True, lstrip=True, rstrip=True),
        added(mask + 1, "<tool>", special=True), added(mask + 2, "tool call"))
    yield "normalized tokens", "gpt2", {"normalizer": {"type": "Lowercase"}} | with_added(
        base, added(mask, "DON'T", normalized=True), added(mask + 1, "THE", normalized=False),
        added(mask + 2, "Tool", normalized=True), added(mask + 3, "éé"))


def sentencepiece_variants(files):
    base = files["sentencepiece"]
    size = len(base["model"]["vocab"])
    model = base["model"]
    for scheme in ["always", "first", "never"]:
        for cut in [False, True]:
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                         "split": cut}
            yield f"metaspace {scheme} {cut}", "sentencepiece", {
                "normalizer": None, "pre_tokenizer": metaspace, "decoder": {
                    "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                    "split": cut, "decoders": None}}
    no_bytes = {"byte_fallback": False}
    yield "unknown fused", "sentencepiece", {"model": no_bytes}
    yield "unknown", "sentencepiece", {"model": no_bytes | {"fuse_unk": False}}
    yield "nothing for unknown", "sentencepiece", {"model": no_bytes | {"unk_token": None}}
    yield "some bytes, fused", "sentencepiece", {"model": {"vocab": {"<0xE4>": None}}}
    yield "some bytes", "sentencepiece", {
        "model": {"vocab": {"<0xE4>": None}, "fuse_unk": False}}
    yield "no strip", "sentencepiece", {"decoder": {"decoders": base["decoder"]["decoders"][:3]}}
    yield "normalized", "sentencepiece", with_added(
        base, added(size, "<tool>", normalized=True), added(size + 1, "▁b"),
        added(size + 2, "<mask>", normalized=True, lstrip=True))
    assert model["fuse_unk"] and model["byte_fallback"]


def unigram_variants(files):
    vocab = files["unigram"]["model"]["vocab"]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    yield "unigram lines", "unigram", {"pre_tokenizer": metaspace | {"pretokenizers": None}}
    yield "unigram without types", "unigram", {"model": {"type": None}}
    yield "unigram no words", "unigram", {"pre_tokenizer": None, "normalizer": None}
    with_bytes = {"byte_fallback": True, "vocab": vocab + [[f"<0x{b:02X}>", 0.0] for b in range(256)]}
    decoder = {"type": "Sequence", "decoders": [metaspace, {"type": "ByteFallback"},
                                                {"type": "Fuse"}], "replacement": None,
               "prepend_scheme": None, "split": None}
    yield "unigram bytes", "unigram", {"model": with_bytes, "decoder": decoder}
    yield "unigram some bytes", "unigram", {"model": {"byte_fallback": True, "vocab": [
        entry for entry in with_bytes["vocab"] if entry[0] != "<0xE4>"]}}
    yield "unigram ties", "unigram", {"model": {"vocab": [
        [text, 0 if text == "<unk>" else -1] for text, _ in vocab] + [["▁the", -1.5]]}}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def results(file, with_random):
    library = Tokenizer.from_str(json.dumps(file))
    ids = [library.encode(text).ids for text in TEXTS]
    if with_random:  # bytes that are no characters
        source = random.Random(1)
        ids += [[source.randrange(library.get_vocab_size()) for _ in range(40)] for _ in range(8)]
    decoded = [library.decode(each) for each in ids]
    same = [text == given for text, given in zip(decoded, TEXTS)]  # null stands for the text itself
    same += [False] * (len(ids) - len(same))
    return {"ids": ids, "decoded": [None if s else text for s, text in zip(same, decoded)]}


def main():
    files = {name: json.loads(make().to_str()) for name, make in BASES.items()}
    for name, file in files.items():
        text = json.dumps(file, ensure_ascii=False, separators=(",", ":"))
        (HERE / f"{name}.json").write_text(text + "\n")
    variants = [(name, name, {}) for name in files]
    variants += [*byte_level_variants(files), *sentencepiece_variants(files),
                 *unigram_variants(files)]
    cases = []
    for name, base, patch in variants:
        file = merge_patch(copy.deepcopy(files[base]), patch)
        cases.append({"name": name, "base": base, "patch": patch,
                      **results(file, with_random=base not in ("sentencepiece", "unigram"))})
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    head = json.dumps({"library": f"tokenizers {tokenizers.__version__}", "texts": TEXTS})
    (HERE / "expected.json").write_text(head[:-1] + ',"cases":[\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
