"""Topic 5.3, prefill and decode: a prompt at once, in pieces or token by token is the same work in
another order, so it gives the same bits; the plan says how each is run."""

import numpy as np
from example import Proof, random, same_bits

import rapt

proof = Proof()
tokens, q_heads, kv_heads, d = 1200, 8, 2, 64
q = random(1, tokens, q_heads, d, seed=1)
k, v = (random(1, tokens, kv_heads, d, seed=s) for s in (2, 3))
mask = rapt.Mask.causal()
whole = rapt.attention(q, k, v, mask=mask)


def in_pieces(size: int) -> np.ndarray:
    cache = rapt.DenseKvCache(capacity=tokens, kv_heads=kv_heads, head_dim=d)
    rows = []
    for first in range(0, tokens, size):
        piece = slice(first, first + size)
        cache.append(k[:, piece], v[:, piece])
        rows.append(rapt.attention(q[:, piece], cache=cache, mask=mask))
    return np.concatenate(rows, axis=1)


for size in (500, 64, 7):
    proof(same_bits(in_pieces(size), whole), f"prefill in pieces of {size}: the bits of one call")

for name, q_tokens in [("prefill", tokens), ("decode", 1)]:
    problem = rapt.Problem(
        q_tokens=q_tokens,
        kv_tokens=tokens,
        q_heads=q_heads,
        kv_heads=kv_heads,
        head_dim=d,
        mask=mask,
    )
    plan = rapt.make_plan(problem, from_cache=True)
    flops = 2 * problem.visible_pairs * (d + d)
    kv_bytes = tokens * kv_heads * (d + d) * 4
    print(f"\n{name}: {flops / kv_bytes:.1f} flops for each byte of keys and values\n")
    print(plan.explain())

plan = rapt.make_plan(
    rapt.Problem(
        q_tokens=1, kv_tokens=tokens, q_heads=q_heads, kv_heads=kv_heads, head_dim=d, mask=mask
    )
)
chunks = -(-tokens // rapt.CHUNK)
parts = [rapt.run_partial(plan, q[:, -1:], k, v, begin=c, end=c + 1) for c in range(chunks)]
state = parts[0]
for part in parts[1:]:
    state = rapt.merge(state, part)
o, _ = rapt.finish(state)
proof(same_bits(o, whole[:, -1:]), f"decode split over {chunks} machines and merged: the same bits")
proof.exit()
