#!/usr/bin/env python3
"""Seconds and peak memory of looking at attention, in rapt and by whole matrices in torch.

    bench/peers/observe_memory.py    # with rapt, torch and transformers installed

Two cases, each run in a process of its own: the entropy of every row of a Llama of one layer (4
heads of D 64, random weights), by rapt.transformers.observe and by torch's eager attention; and the
map of 512 x 512 blocks of one causal head of D 128, by rapt.pooled_map and by scores, softmax and
mean. What torch would take at the largest length follows from its longest, as the square of the
length.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

CASES = ("entropy rapt", "entropy torch", "map rapt", "map torch")


def entropy(who, tokens):
    """Looks at a model; its memory without attention is in the peak, too."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=tokens,
    )
    torch.manual_seed(1)
    model = transformers.LlamaModel(config).eval()
    ids = torch.randint(0, 1000, (1, tokens))
    if who == "rapt":
        import rapt.transformers

        rapt.transformers.register()
        model.set_attn_implementation("rapt")
        return lambda: rapt.transformers.observe(model, input_ids=ids)
    model.set_attn_implementation("eager")

    @torch.no_grad()
    def by_matrices():
        for a in model(input_ids=ids, output_attentions=True, use_cache=False).attentions:
            torch.special.entr(a).sum(-1).mean(-1)

    return by_matrices


def pooled_map(who, tokens):
    import torch

    torch.manual_seed(1)
    q, k = torch.randn(1, tokens, 1, 128), torch.randn(1, tokens, 1, 128)
    if who == "rapt":
        import rapt

        causal = rapt.Mask.causal()
        return lambda: rapt.pooled_map(q, k, query_blocks=512, key_blocks=512, mask=causal)

    def by_matrices():
        scores = q[0, :, 0] @ k[0, :, 0].T * 128**-0.5
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        weights = scores.masked_fill_(later, float("-inf")).softmax(-1)
        weights.view(512, tokens // 512, 512, tokens // 512).sum(3).mean(1)

    return by_matrices


def measure_here(case, tokens, threads):
    """Prints one measurement, of this process."""
    import torch

    import rapt

    torch.set_num_threads(threads)
    rapt.set_threads(threads)
    what, who = case.split()
    look = {"entropy": entropy, "map": pooled_map}[what](who, tokens)
    begin = time.perf_counter()
    look()
    seconds = time.perf_counter() - begin
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))


def measure(case, tokens, threads):
    """Returns (seconds, GiB)."""
    command = [sys.executable, __file__, "--one", case, str(tokens), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(output.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rapt-tokens", type=int, nargs="+", default=[8192, 16384, 32768])
    parser.add_argument("--torch-tokens", type=int, nargs="+", default=[8192])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure_here(args.one[0], int(args.one[1]), args.threads)
        return
    for case in args.cases:
        lengths = args.torch_tokens if case.endswith("torch") else args.rapt_tokens
        for tokens in lengths:
            seconds, memory = measure(case, tokens, args.threads)
            print(f"{case}, {tokens} tokens: {seconds:.2f} s, peak {memory:.2f} GiB", flush=True)
        if case.endswith("torch"):
            base = measure(case, 512, args.threads)[1]
            longest = max(args.rapt_tokens)
            would = base + (memory - base) * (longest / lengths[-1]) ** 2
            print(f"  at {longest} by the square: {would:.0f} GiB")


if __name__ == "__main__":
    main()
