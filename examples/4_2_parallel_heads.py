"""Topic 4.2, parallel heads: all heads in one call, over threads; each has the bits that it has
alone, and its output is a slice."""

from example import Proof, print_shape, random, same_bits

import rapt

proof = Proof()
q, k, v = (random(2, 300, 8, 32, seed=s) for s in range(3))
mask = rapt.Mask.causal()
o = rapt.attention(q, k, v, mask=mask)
print_shape("o", o)

alone = all(
    same_bits(
        rapt.attention(*(x[:, :, h : h + 1] for x in (q, k, v)), mask=mask), o[:, :, h : h + 1]
    )
    for h in range(8)
)
proof(alone, "every head has the bits that it has alone")
for threads in (1, 2, 5):
    rapt.set_threads(threads)
    proof(same_bits(rapt.attention(q, k, v, mask=mask), o), f"{threads} threads: the same bits")
proof.exit()
