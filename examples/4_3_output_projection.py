"""Topic 4.3, concatenation and output projection: y = concat_h(o_h) W_O^T, which is the sum of what
each head adds to it."""

import numpy as np
from example import Proof, print_shape, random

import rapt

proof = Proof()
tokens, d_model, heads = 50, 64, 4
w = {
    name: random(d_model, d_model, seed=n, scale=d_model**-0.5)
    for n, name in enumerate(("q", "k", "v", "o"))
}
layer = rapt.MultiHeadAttention(**w, q_heads=heads, mask=rapt.Mask.causal())
x = random(1, tokens, d_model, seed=9)
y, o, contributions = layer(x, return_heads=True)
print_shape("x", x)
print_shape("o", o)
print_shape("contributions", contributions)
print_shape("y", y)

by_hand = [(x @ w[n].T).reshape(1, tokens, heads, -1) for n in ("q", "k", "v")]
expected = rapt.attention(*by_hand, mask=rapt.Mask.causal())
proof(np.abs(o - expected).max() < 1e-5, "o_h is attention of the projections")
concatenated = o.reshape(1, tokens, d_model)
proof(np.abs(y - concatenated @ w["o"].T).max() < 1e-5, "y = concat(o) W_O^T")
proof(np.abs(contributions.sum(axis=2) - y).max() < 1e-5, "y = sum over heads of o_h W_O[:, h]^T")

silent = contributions.copy()
silent[:, :, 0] = 0
w["v"][: d_model // heads] = 0
without = rapt.MultiHeadAttention(**w, q_heads=heads, mask=rapt.Mask.causal())(x)
proof(np.abs(silent.sum(axis=2) - without).max() < 1e-5, "a head without values adds nothing")
proof.exit()
