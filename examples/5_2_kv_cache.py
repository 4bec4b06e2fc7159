"""Topic 5.2, the KV cache: keys and values are stored once, in the layout that is read; a token is
decoded with the bits that it has in one call over all tokens."""

import numpy as np
from example import Proof, random, same_bits

import rapt

proof = Proof()
tokens, heads, d = 40, 4, 32
q, k, v = (random(1, tokens, heads, d, seed=s) for s in range(3))
mask = rapt.Mask.causal()
whole = rapt.attention(q, k, v, mask=mask)

cache = rapt.DenseKvCache(capacity=tokens, kv_heads=heads, head_dim=d)
rows = []
for t in range(tokens):
    cache.append(k[:, t : t + 1], v[:, t : t + 1])
    rows.append(rapt.attention(q[:, t : t + 1], cache=cache, mask=mask))
print(f"{cache.length()} tokens in {cache.size_bytes} bytes")
proof(same_bits(np.concatenate(rows, axis=1), whole), "token by token: the bits of one call")

cache.truncate(0, 10)
cache.append(k[:, 10:20], v[:, 10:20])
again = rapt.attention(q[:, 10:20], cache=cache, mask=mask)
proof(same_bits(again, whole[:, 10:20]), "what was forgotten can come again: the same bits")

half = rapt.DenseKvCache(capacity=tokens, kv_heads=heads, head_dim=d, dtype="bfloat16")
half.append(k, v)
proof(half.size_bytes * 2 == cache.size_bytes, "a cache in bf16 takes half the bytes")
rounded = rapt.attention(q, *(x.astype(np.float32) for x in half.read(0, tokens)), mask=mask)
proof(
    same_bits(rapt.attention(q, cache=half, mask=mask), rounded),
    "and gives the bits of the rounded keys and values",
)
try:
    cache.append(k, v)
except rapt.Error as error:
    print(error)
    proof(cache.length() == 20, "what does not fit is refused, and nothing of it is stored")
proof.exit()
