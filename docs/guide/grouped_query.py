#!/usr/bin/env python3
"""The tables of 4_5_grouped_query.md: what a cache takes, and what a model loses when its heads are pooled.

grouped_query.py RAPT [MODEL TEXT]...
"""

import json
import pathlib
import subprocess
import sys
import tempfile

LAYERS, HEADS, DIM, TOKENS = 32, 32, 128, 8192


def cache_bytes(kv_heads, element_bytes, scale_bytes=0):
    """A token's, of keys and values of all layers."""
    return 2 * LAYERS * kv_heads * (DIM * element_bytes + scale_bytes)


def cache_table():
    yield f"| Hkv of {HEADS} heads | f32 | bf16 | int8 | {TOKENS:,} tokens in bf16 |"
    yield "|---|---|---|---|---|"
    for name, kv_heads in ("multi-head", HEADS), ("grouped-query", 8), ("multi-query", 1):
        f32, bf16, int8 = cache_bytes(kv_heads, 4), cache_bytes(kv_heads, 2), cache_bytes(kv_heads, 1, 4)
        yield f"| {kv_heads}, {name} | {f32:,} | {bf16:,} | {int8:,} | {bf16 * TOKENS / 2**30:.3g} GiB |"


def run(*command):
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def loss_table(rapt, model, text):
    heads = run(rapt, "info", model)["kv_heads"]
    yield "| kv heads | parameters | cache, bytes a token in f32 | nats a token |"
    yield "|---|---|---|---|"
    for kv_heads in (n for n in range(heads, 0, -1) if heads % n == 0):
        with tempfile.TemporaryDirectory() as folder:
            directory = model if kv_heads == heads else pathlib.Path(folder, "pooled")
            if directory != model:
                run(rapt, "convert", model, "--kv-heads", kv_heads, "-o", directory)
            info, loss = run(rapt, "info", directory), run(rapt, "eval", directory, text)
        parameters, cache = info["parameters"], info["cache_bytes_per_token"]
        yield f"| {kv_heads} | {parameters:,} | {cache:,} | {loss['whole']['nats_per_token']:.4f} |"


def main(rapt, *pairs):
    print(*cache_table(), sep="\n")
    for model, text in zip(pairs[::2], pairs[1::2]):
        print("", f"{model}, {text}:", "", *loss_table(rapt, model, text), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
