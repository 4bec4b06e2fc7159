"""Topic 5.5, cross-attention: queries of one sequence read the keys and values of another, a
memory: no causal mask, a cache that is filled once, padding of its own."""

import numpy as np
from example import Proof, print_shape, random, same_bits

import rapt

proof = Proof()
d_model, memory_dim, heads = 48, 32, 4
w = {
    "q": random(d_model, d_model, seed=1, scale=0.2),
    "k": random(d_model, memory_dim, seed=2, scale=0.2),
    "v": random(d_model, memory_dim, seed=3, scale=0.2),
    "o": random(d_model, d_model, seed=4, scale=0.2),
}
layer = rapt.MultiHeadAttention(**w, q_heads=heads)
x, memory = random(2, 5, d_model, seed=5), random(2, 9, memory_dim, seed=6)
y = layer(x, memory=memory)
print_shape("x", x)
print_shape("memory", memory)
print_shape("y", y)

cache = layer.make_cache(2, 9)
layer.append(memory, cache)
steps = [layer(x[:, t : t + 1], cache=cache) for t in range(5)]
proof(
    same_bits(np.concatenate(steps, axis=1), y),
    "token by token against the memory's cache, which is filled once: the same bits",
)

order = np.random.default_rng(7).permutation(9)
moved = layer(x, memory=np.ascontiguousarray(memory[:, order]))
proof(np.abs(moved - y).max() < 1e-5, "without positions the order of the memory is nothing")

padded = np.concatenate([memory, np.full((2, 3, memory_dim), np.nan, np.float32)], axis=1)
proof(
    same_bits(layer(x, memory=padded, memory_ranges=[(0, 9), (0, 9)]), y),
    "what the memory's padding holds, NaN too, reaches nothing",
)
empty = layer(x, memory=padded, memory_ranges=[(0, 0), (0, 9)])
proof(not empty[0].any() and same_bits(empty[1], y[1]), "a sequence without memory gets 0")
proof.exit()
