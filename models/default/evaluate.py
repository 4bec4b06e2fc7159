"""Measures an exported model on held-out text and on copying; writes evaluation.json.

Convention: windows of the context length that do not overlap, each starting with BOS, so that the
first tokens of a window are predicted from little. The weights are those of the file, bf16 exactly.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import torch
from tokenizers import Tokenizer

import data
from model import Llama, load, token_losses, write_atomically

PROMPTS = (
    "Once upon a time",
    "One day, a little dog named Max",
    "It was a dark night, and Holmes",
    "The whale",
    "And the LORD said unto Moses,",
    "If the Rays of Light",
    "KING RICHARD:\n",
)
RESAMPLES = 2000


def interval(totals: np.ndarray, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Resamples of sum(totals) / sum(sizes), drawn over the entries: [RESAMPLES]."""
    picks = rng.integers(0, len(totals), (RESAMPLES, len(totals)))
    return totals[picks].sum(1) / sizes[picks].sum(1)


def summary(value: float, resamples: np.ndarray) -> dict:
    """A figure with its 95% interval."""
    low, high = np.percentile(resamples, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


@torch.no_grad()
def held_out(
    model: Llama, tokenizer: Tokenizer, split: data.Split, rng: np.random.Generator
) -> tuple[dict, np.ndarray]:
    """Losses of one text, resampled by story or, in a book, by window; and those bits a byte."""
    windows = data.windows(tokenizer, split.held_out, model.config.max_position_embeddings)
    unit = [w.document if len(split.held_out) > 1 else i for i, w in enumerate(windows)]
    nats, tokens, size_bytes = (np.zeros(max(unit) + 1) for _ in range(3))
    for i, window in zip(unit, windows, strict=True):
        nats[i] += float(token_losses(model, window.ids[None]).double().sum())
        tokens[i] += len(window.ids) - 1
        size_bytes[i] += window.size_bytes
    bits = nats / math.log(2)
    resamples = interval(bits, size_bytes, rng)
    result = {
        "tokens": int(tokens.sum()),
        "bytes": int(size_bytes.sum()),
        "units": len(nats),
        "unit": "story" if len(split.held_out) > 1 else "window",
        "nats_per_token": summary(nats.sum() / tokens.sum(), interval(nats, tokens, rng)),
        "bits_per_byte": summary(bits.sum() / size_bytes.sum(), resamples),
        "xz_9e_bits_per_byte": round(data.xz_bits_per_byte(split.held_out), 4),
    }
    return result, resamples


@torch.no_grad()
def copying(model: Llama, span: int, count: int, rng: np.random.Generator) -> dict:
    """Random tokens, uniform over the vocabulary without BOS, twice; intervals over sequences."""
    config = model.config
    ids = torch.from_numpy(data.copy_test(rng, config.vocab_size, config.bos_token_id, count, span))
    halves = [], []
    right = []
    for row in ids.split(8):
        logits = model(row[:, :-1])
        losses = -logits.log_softmax(-1).gather(-1, row[:, 1:, None])[..., 0]
        halves[0].append(losses[:, :span].mean(1))
        halves[1].append(losses[:, span:].mean(1))
        right.append((logits.argmax(-1) == row[:, 1:])[:, span:].float().mean(1))
    ones = np.ones(count)
    figures = [torch.cat(rows).double().numpy() for rows in (*halves, right)]
    first, second, share = (summary(v.mean(), interval(v, ones, rng)) for v in figures)
    return {
        "span": span,
        "sequences": count,
        "first_half_nats": first,
        "second_half_nats": second,
        "second_half_top1": share,
    }


@torch.no_grad()
def write_text(model: Llama, tokenizer: Tokenizer, prompt: str, count: int, seed: int) -> str:
    """Continues the prompt at temperature 0.7 among the tokens of the first 95% of probability."""
    generator = torch.Generator().manual_seed(seed)
    ids = [model.config.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False).ids]
    for _ in range(count):
        p = (model(torch.tensor([ids]))[0, -1] / 0.7).softmax(-1)
        sorted_p, order = p.sort(descending=True)
        sorted_p[sorted_p.cumsum(0) - sorted_p > 0.95] = 0
        ids.append(int(order[torch.multinomial(sorted_p, 1, generator=generator)]))
        if ids[-1] == model.config.eos_token_id:
            break
    return tokenizer.decode(ids[1:], skip_special_tokens=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpora", type=pathlib.Path, required=True, help="folder of the texts")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="folder of the model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    model = load(options.model)
    tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
    texts, resamples = {}, []
    for split in data.read_splits(options.corpora):
        print(f"held out: {split.corpus.name}", file=sys.stderr)
        texts[split.corpus.name], drawn = held_out(model, tokenizer, split, rng)
        resamples.append(drawn)
    mean = sum(text["bits_per_byte"]["value"] for text in texts.values()) / len(texts)
    print("copying", file=sys.stderr)
    evaluation = {
        "convention": "windows of the context length, not overlapping, each starting with BOS; "
        "weights as stored (bf16), computed in f32; 95% intervals by bootstrap",
        "files": data.describe_files(options.corpora),
        "held_out": texts,
        "held_out_mean_bits_per_byte": summary(mean, np.mean(resamples, axis=0)),
        "copying": [copying(model, span, 128, rng) for span in (32, 128, 250)],
        "samples": [write_text(model, tokenizer, prompt, 120, options.seed) for prompt in PROMPTS],
    }
    text = json.dumps(evaluation, indent=1, ensure_ascii=False)
    write_atomically(options.model / "evaluation.json", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
