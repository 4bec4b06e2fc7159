#!/usr/bin/env python3
"""Makes expected.json beside it: T5's buckets and ALiBi's slopes, as transformers computes them.

    pip install torch==2.13.0 transformers==5.24.0 numpy
    python3 make.py

`buckets` are T5's for distances pos_j - pos_i from -2000 to 2000, as [first distance, bucket] of each
run of equal ones. `slopes` are MPT's, the bits of f32 numbers, for 1 to 64 heads; the paper's code
has the same.
"""

import json
import math
import pathlib

import numpy
import torch
import transformers
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

HERE = pathlib.Path(__file__).parent
FARTHEST = 2000


def buckets(count, max_distance, bidirectional):
    distances = torch.arange(-FARTHEST, FARTHEST + 1)
    values = T5Attention._relative_position_bucket(
        distances, bidirectional=bidirectional, num_buckets=count, max_distance=max_distance)
    runs = []
    for distance, bucket in zip(distances.tolist(), values.tolist()):
        if not runs or runs[-1][1] != bucket:
            runs.append([distance, bucket])
    return {"buckets": count, "max_distance": max_distance, "bidirectional": bidirectional,
            "runs": runs}


def slopes(heads):
    bias = build_mpt_alibi_tensor(heads, 2)  # -slope times distances 1 and 0
    values = -bias[:, 0, 0].numpy()
    if not numpy.array_equal(values, numpy.float32(paper_slopes(heads))):
        raise SystemExit(f"make.py: {heads} heads: expected the paper's slopes, got {values}")
    return values.view(numpy.uint32).tolist()


def paper_slopes(heads):
    """arXiv:2108.12409: the first powers of one base, then every second one for twice the heads."""
    below = 2 ** math.floor(math.log2(heads))
    base = 2 ** -(2 ** -(math.log2(below) - 3))
    first = [base ** (h + 1) for h in range(below)]
    return first if heads == below else first + paper_slopes(2 * below)[::2][:heads - below]


def main():
    expected = {"library": f"transformers {transformers.__version__}, torch {torch.__version__}",
                "farthest": FARTHEST}
    sets = [buckets(count, max_distance, bidirectional)
            for count, max_distance in [(32, 128), (16, 64), (12, 40), (64, 1000)]
            for bidirectional in [False, True]]
    lines = [json.dumps(expected)[:-1], '"buckets": [\n' + ",\n".join(map(json.dumps, sets)) + "]",
             '"slopes": [\n' + ",\n".join(json.dumps(slopes(n)) for n in range(1, 65)) + "]}"]
    (HERE / "expected.json").write_text(",\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
