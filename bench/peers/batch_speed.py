"""Tokens a second of rapt's Engine beside transformers' generate: same weights, same batch.

    pip install torch==2.13.0 transformers==5.24.0
    python bench/peers/batch_speed.py models/default

For each MODEL the two take turns; the fastest repeat of each counts. Both compute in f32 with the
same number of threads and continue greedily. The prompts are random tokens of different lengths,
padded on the left for transformers; a row that ends early waits for the others there. The script
says how many of the rows agree in all tokens.
"""

import argparse
import json
import random
import time

import torch
import transformers

import rapt


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="Hugging Face directory")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def random_prompts(count, vocab_size):
    """Prompts of 16 to 263 tokens, without the special ones that begin most vocabularies."""
    draw = random.Random(1)
    return [
        [draw.randrange(16, vocab_size) for _ in range(draw.randrange(16, 264))]
        for _ in range(count)
    ]


def run_rapt(model, prompts, count):
    """Returns the new tokens of each prompt."""
    engine = rapt.Engine(model, reuse_prefixes=False)
    tokens = {engine.submit(prompt, max_new_tokens=count): [] for prompt in prompts}
    while engine.busy:
        for event in engine.step():
            if event.token is not None:
                tokens[event.request].append(event.token)
    return list(tokens.values())


@torch.inference_mode()
def run_transformers(model, prompts, count):
    """The same; what a row has after its end is not counted."""
    longest = max(map(len, prompts))
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    ids = torch.tensor([[ends[0]] * (longest - len(prompt)) + prompt for prompt in prompts])
    visible = torch.tensor(
        [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    )
    output = model.generate(
        ids, attention_mask=visible, max_new_tokens=count, do_sample=False, pad_token_id=ends[0]
    )
    rows = output[:, longest:].tolist()
    return [
        row[: next((n for n, token in enumerate(row) if token in ends), len(row))] for row in rows
    ]


def compare(args, name):
    ours = rapt.Model.load(name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    prompts = random_prompts(args.requests, theirs.config.vocab_size)
    ways = {
        "rapt": lambda: run_rapt(ours, prompts, args.tokens),
        "transformers": lambda: run_transformers(theirs, prompts, args.tokens),
    }
    best, tokens = dict.fromkeys(ways, 0.0), {}
    for _ in range(args.repeats):
        for who, run in ways.items():
            begin = time.perf_counter()
            tokens[who] = run()
            seconds = time.perf_counter() - begin
            best[who] = max(best[who], sum(map(len, tokens[who])) / seconds)
    return {
        "model": name,
        "threads": args.threads,
        "requests": args.requests,
        "new_tokens": sum(map(len, tokens["rapt"])),
        "rows_that_agree": sum(a == b for a, b in zip(*tokens.values(), strict=True)),
        "tokens_per_second": best,
        "ratio": best["rapt"] / best["transformers"],
    }


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    rapt.set_threads(args.threads)
    results = [compare(args, name) for name in args.models]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if args.json:
        print(json.dumps({"versions": versions, "models": results}, indent=1))
        return
    for r in results:
        print(f"{r['model']}: {r['requests']} requests, {r['new_tokens']} new tokens, ", end="")
        print(f"{r['rows_that_agree']} rows agree, {r['threads']} thread(s)")
        ours, other = (r["tokens_per_second"][who] for who in ("rapt", "transformers"))
        print(f"  rapt {ours:.0f}/s  transformers {other:.0f}/s  ratio {r['ratio']:.1f}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
