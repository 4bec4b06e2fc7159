"""Topic 4.1, head dimensions: d_model is split into heads of D = d_model / H features, as a view;
values may have another dimension than keys, and shapes that disagree are named."""

import numpy as np
from example import Proof, print_shape, random

import rapt

proof = Proof()
tokens, d_model, heads = 100, 96, 6
x = random(1, tokens, d_model, seed=1)
split = x.reshape(1, tokens, heads, d_model // heads)
print_shape("x", x)
print_shape("split", split)
proof(np.shares_memory(x, split), "heads are a view of the features: nothing is copied")

o = rapt.attention(split, split, split)
merged = o.reshape(1, tokens, d_model)
print_shape("o", o)
print_shape("merged", merged)
proof(np.shares_memory(o, merged), "and so is their concatenation")

for d, dv in [(64, 64), (1, 3), (111, 64), (64, 200)]:
    q, k = random(1, tokens, 2, d, seed=2), random(1, tokens, 2, d, seed=3)
    v = random(1, tokens, 2, dv, seed=4)
    o = rapt.attention(q, k, v)
    s = np.einsum("bihe,bjhe->bhij", q, k, dtype=np.float64) / np.sqrt(d)
    p = np.exp(s - s.max(axis=3, keepdims=True))
    expected = np.einsum("bhij,bjhe->bihe", p / p.sum(axis=3, keepdims=True), v)
    proof(
        o.shape[3] == dv and np.abs(o - expected).max() < 1e-5,
        f"D {d}, Dv {dv}: softmax(q k^T / sqrt({d})) v",
    )

try:
    rapt.attention(random(1, 5, 2, 64, seed=5), random(1, 5, 2, 32, seed=6), split)
except rapt.Error as error:
    print(error)
    proof(error.code == "bad_shape", "extents that disagree are an error that names them")
proof.exit()
