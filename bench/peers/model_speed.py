"""Tokens a second of `rapt generate` beside transformers on torch: same weights, same prompt, same run.

    pip install torch==2.13.0 transformers==5.24.0
    python bench/peers/model_speed.py --rapt build/release/bin/rapt models/default

For each MODEL the two take turns; the fastest repeat of each counts. Both compute in --dtype (of rapt, weights and
cache in it) with the same number of threads and continue greedily; the script says how many of the new tokens agree.
"""

import argparse
import json
import subprocess
import time

import torch
import transformers

PROMPT = (
    "Once upon a time there was a small town at the foot of a mountain. The people who lived there "
    "were quiet and kind, and every evening they sat in front of their houses and told stories. "
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="Hugging Face directory")
    parser.add_argument("--rapt", default="build/release/bin/rapt", help="the program")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens")
    parser.add_argument("--prompt-repeats", type=int, default=3, help="times the prompt's text is repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def run_rapt(args, model, prompt):
    """Returns (prompt tokens, new tokens, {part: tokens a second})."""
    command = [args.rapt, "generate", model, "-p", prompt, "-n", str(args.tokens), "--json"]
    command += ["--threads", str(args.threads), "--dtype", args.dtype]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(output.stdout)
    rate = {part: result[part]["tokens"] / result[part]["seconds"] for part in ("prefill", "decode")}
    return result["prompt_tokens"], result["tokens"], rate


@torch.inference_mode()
def run_torch(model, prompt_tokens, count):
    """The same with transformers: one call for the prompt, then one for each token."""
    begin = time.perf_counter()
    output = model(torch.tensor([prompt_tokens]), use_cache=True, logits_to_keep=1)
    prefill_seconds = time.perf_counter() - begin

    tokens = [int(output.logits[0, -1].argmax())]
    begin = time.perf_counter()
    while len(tokens) < count:
        step = torch.tensor([[tokens[-1]]])
        output = model(step, past_key_values=output.past_key_values, use_cache=True)
        tokens.append(int(output.logits[0, -1].argmax()))
    decode_seconds = time.perf_counter() - begin
    rate = {"prefill": len(prompt_tokens) / prefill_seconds, "decode": (count - 1) / decode_seconds}
    return tokens, rate


def compare(args, name):
    prompt = PROMPT * args.prompt_repeats
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[args.dtype]
    model = transformers.LlamaForCausalLM.from_pretrained(name, dtype=dtype).eval()
    best = {"rapt": {"prefill": 0, "decode": 0}, "transformers": {"prefill": 0, "decode": 0}}
    for _ in range(args.repeats):
        prompt_tokens, ours, rapt_rate = run_rapt(args, name, prompt)
        theirs, torch_rate = run_torch(model, prompt_tokens, len(ours))
        for who, rate in (("rapt", rapt_rate), ("transformers", torch_rate)):
            best[who] = {part: max(best[who][part], rate[part]) for part in rate}
    agree = next((n for n, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]), len(ours))
    return {
        "model": name,
        "threads": args.threads,
        "dtype": args.dtype,
        "prompt_tokens": len(prompt_tokens),
        "new_tokens": len(ours),
        "new_tokens_that_agree": agree,
        "tokens_per_second": best,
        "ratio": {part: best["rapt"][part] / best["transformers"][part] for part in best["rapt"]},
    }


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    results = [compare(args, name) for name in args.models]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    if args.json:
        print(json.dumps({"versions": versions, "models": results}, indent=1))
        return
    for r in results:
        print(f"{r['model']}: {r['prompt_tokens']} prompt tokens, {r['new_tokens']} new, ", end="")
        print(f"{r['new_tokens_that_agree']} agree, {r['dtype']}, {r['threads']} thread(s)")
        for part in ("prefill", "decode"):
            rates = [r["tokens_per_second"][who][part] for who in ("rapt", "transformers")]
            print(f"  {part:8} rapt {rates[0]:10.0f}/s  transformers {rates[1]:10.0f}/s", end="")
            print(f"  ratio {r['ratio'][part]:.1f}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
