#!/usr/bin/env python3
"""Makes expected.json beside it: the inverse frequencies that transformers computes.

    pip install torch==2.13.0 transformers==5.24.0 numpy
    python3 make.py                          # on a CPU with AVX-512: see src/layer/rotary_power.h

`cases` are config.json files, as a merge patch on `base`, with the inverse frequencies (the bits of
f32 numbers) and the attention factor of ROPE_INIT_FUNCTIONS for sequences of `length` tokens.
`sweep` has a hash of the plain inverse frequencies for each theta and each even number of dims from 2
to 256.
"""

import json
import pathlib

import numpy
import torch
import transformers
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

HERE = pathlib.Path(__file__).parent
BASE = {"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 256,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 4096}
THETAS = [100.0, 10000.0, 150000.0, 500000.0, 1e6, 8e6, 1e10]


def older(theta=10000.0, **scaling):
    return {"rope_theta": theta, "rope_scaling": scaling}


def newer(theta=10000.0, **scaling):
    return {"rope_parameters": {"rope_theta": theta, **scaling}}


def factors(pairs, first, last):
    return [round(first * (last / first) ** (i / max(pairs - 1, 1)), 3) for i in range(pairs)]


def cases():
    for dims in [8, 32, 64, 80, 96, 128, 256]:
        yield f"default {dims}", {"head_dim": dims, **older(500000.0, rope_type="default")}, 0
    for factor in [1.0, 2, 3.7, 8.0]:
        yield f"linear {factor}", older(type="linear", factor=factor), 0
    for share in [0.25, 0.38, 0.5]:
        yield f"partial {share}", {"partial_rotary_factor": share,
                                   **newer(1e6, rope_type="linear", factor=1.0)}, 0
    yield "partial inside", newer(1e6, rope_type="linear", factor=2.0,
                                  partial_rotary_factor=0.5), 0
    for length in [0, 4096, 4097, 5000, 8192, 16384]:
        for factor in [2.0, 4.0]:
            yield f"dynamic {factor} {length}", older(rope_type="dynamic", factor=factor), length
    yield "dynamic 64", {"head_dim": 64, **newer(5e5, rope_type="dynamic", factor=3.3)}, 7001
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    yield "yarn", older(**yarn), 0
    yield "yarn, newer", newer(1e6, **yarn), 0
    yield "yarn, Qwen", {"max_position_embeddings": 32768, **older(
        1e6, type="yarn", factor=4.0, original_max_position_embeddings=32768)}, 0
    yield "yarn, no original", newer(type="yarn", factor=16.0), 0
    yield "yarn betas", older(**yarn, beta_fast=16, beta_slow=2.5), 0
    yield "yarn not truncated", older(150000.0, **yarn, truncate=False), 0
    yield "yarn mscale", older(**yarn, mscale=1.0, mscale_all_dim=0.707), 0
    yield "yarn one mscale", older(**yarn, mscale=0.707), 0
    yield "yarn attention factor", older(**yarn, attention_factor=1.25), 0
    yield "yarn 64", {"head_dim": 64, **older(150000.0, **yarn)}, 0
    yield "yarn original beside", {"original_max_position_embeddings": 2048, **older(**yarn)}, 0
    yield "yarn factor 1", older(**yarn | {"factor": 1.0}), 0
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    long = {"max_position_embeddings": 131072}
    yield "llama3", long | older(500000.0, **llama3), 0
    yield "llama3 64", long | {"head_dim": 64} | newer(500000.0, **llama3 | {"factor": 32.0}), 0
    yield "llama3 256", long | {"head_dim": 256} | newer(10000.0, **llama3), 0
    yield "llama3 low", long | newer(1e6, **llama3 | {"low_freq_factor": 0.7,
                                                      "high_freq_factor": 5.3}), 0
    for length in [0, 4096, 4097, 100000]:
        yield f"longrope {length}", long | {"original_max_position_embeddings": 4096} | older(
            rope_type="longrope", short_factor=factors(64, 1.0, 1.5),
            long_factor=factors(64, 1.08, 64.8)), length
    yield "longrope inside", newer(rope_type="longrope", factor=8.0,
                                   original_max_position_embeddings=512,
                                   short_factor=[1.0] * 64, long_factor=factors(64, 1.0, 30)), 600
    yield "longrope attention factor", {"head_dim": 96} | long | newer(
        rope_type="longrope", attention_factor=1.19, original_max_position_embeddings=4096,
        short_factor=[1.0] * 48, long_factor=factors(48, 1.0, 30)), 131072


def expected(name, patch, length):
    fields = {key: value for key, value in (BASE | patch).items() if key != "architectures"}
    config = LlamaConfig(**json.loads(json.dumps(fields)))
    kind = config.rope_parameters["rope_type"]
    make = ROPE_INIT_FUNCTIONS.get(kind, LlamaRotaryEmbedding.compute_default_rope_parameters)
    inv_freq, factor = make(config, device="cpu", seq_len=length or None)
    return {"name": name, "patch": patch, "length": length, "attention_factor": factor,
            "inv_freq": bits(inv_freq)}


def bits(tensor):
    return tensor.contiguous().numpy().view(numpy.uint32).tolist()


def plain(theta, dims):
    return 1.0 / (theta ** (torch.arange(0, dims, 2, dtype=torch.int64).to(torch.float) / dims))


def hash_bits(words):
    """FNV-1a over 32-bit words; the low 32 bits."""
    value = 0xCBF29CE484222325
    for word in words:
        value = (value ^ word) * 0x100000001B3 % 2**64
    return value % 2**32


def main():
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        raise SystemExit("make.py: expected a CPU with AVX-512, got "
                         + torch.backends.cpu.get_cpu_capability())
    torch.set_num_threads(1)
    hashes = [[hash_bits(bits(plain(theta, dims))) for dims in range(2, 258, 2)]
              for theta in THETAS]
    head = {"library": f"transformers {transformers.__version__}, torch {torch.__version__}",
            "base": BASE, "sweep": {"thetas": THETAS, "hashes": hashes}}
    lines = ",\n".join(json.dumps(expected(*case), separators=(",", ":")) for case in cases())
    text = json.dumps(head, separators=(",", ":"))
    (HERE / "expected.json").write_text(text[:-1] + ',"cases":[\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
