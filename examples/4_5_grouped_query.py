"""Topic 4.5, grouped-query and multi-query attention: several query heads share one key/value head.
The cache shrinks by Hq / Hkv; the result is that of multi-head attention with repeated heads."""

import numpy as np
from example import Proof, random, same_bits

import rapt

proof = Proof()
tokens, q_heads, d = 600, 16, 64
q = random(1, tokens, q_heads, d, seed=1)
mask = rapt.Mask.causal()
mha_bytes = 0
for kv_heads in (16, 4, 1):
    k, v = (random(1, tokens, kv_heads, d, seed=s) for s in (2, 3))
    o = rapt.attention(q, k, v, mask=mask)
    cache = rapt.DenseKvCache(capacity=tokens, kv_heads=kv_heads, head_dim=d)
    mha_bytes = mha_bytes or cache.size_bytes
    print(f"\nHq {q_heads} over Hkv {kv_heads}: cache {cache.size_bytes / 2**20:.2f} MiB")
    group = q_heads // kv_heads
    proof(cache.size_bytes * group == mha_bytes, "the cache is Hkv / Hq of the multi-head one")
    repeated = (np.repeat(x, group, axis=2) for x in (k, v))
    proof(
        same_bits(rapt.attention(q, *repeated, mask=mask), o),
        f"multi-head attention with every kv head repeated {group} times: the same bits",
    )
    cache.append(k, v)
    proof(same_bits(rapt.attention(q, cache=cache, mask=mask), o), "from the cache: the same bits")
proof.exit()
