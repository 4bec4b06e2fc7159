"""Topic 5.4, positions: attention knows none by itself. Rotary positions turn q and k, ALiBi and
relative bias change scores; in all of them only distances count."""

import numpy as np
from example import Proof, random

import rapt

proof = Proof()
T, H, D = 20, 4, 32
q, k, v = (random(1, T, H, D, seed=s) for s in range(3))


def near(a: np.ndarray, b: np.ndarray, tolerance: float = 2e-6) -> bool:
    return bool(np.abs(a - b).max() < tolerance)


order = np.random.default_rng(4).permutation(T)
plain = rapt.attention(q, k, v)
proof(
    near(rapt.attention(q, k[:, order], v[:, order]), plain), "none: the order of keys is nothing"
)

for style in ("half", "interleaved"):
    rotary = rapt.Rotary(D, style=style)

    def turned(shift: int, rotary: rapt.Rotary = rotary) -> np.ndarray:
        table = rotary.table(range(shift, shift + T))
        return rapt.attention(rapt.apply_rotary(table, q), rapt.apply_rotary(table, k), v)

    proof(not near(turned(0), plain, 1e-2), f"rotary, {style}: positions count")
    proof(near(turned(0), turned(1000), 1e-3), f"rotary, {style}: only distances do")

part = rapt.apply_rotary(rapt.Rotary(D // 2).table(range(T)), q)
proof((part[..., D // 2 :] == q[..., D // 2 :]).all(), "partial rotary leaves the other features")

slopes = rapt.alibi_slopes(H)
print("ALiBi's slopes", slopes)
distance = np.abs(np.arange(T)[:, None] - np.arange(T)[None])
by_bias = -np.reshape(slopes, (1, H, 1, 1)).astype(np.float32) * distance
alibi = rapt.attention(q, k, v, alibi=slopes)
proof(near(alibi, rapt.attention(q, k, v, bias=by_bias.astype(np.float32))), "ALiBi is a bias")
shifted = rapt.attention(
    q, k, v, alibi=slopes, q_positions=range(500, 500 + T), kv_positions=range(500, 500 + T)
)
proof(near(alibi, shifted), "of distances")

table = random(8, H, seed=5)
relative = rapt.RelativeBias(table.ravel(), buckets=8, max_distance=16, bidirectional=True)
buckets = np.array([[relative.bucket(j - i) for j in range(T)] for i in range(T)])
learned = np.ascontiguousarray(table[buckets].transpose(2, 0, 1)[None])
proof(
    near(rapt.attention(q, k, v, relative_bias=relative), rapt.attention(q, k, v, bias=learned)),
    "a relative bias is the table's number for the bucket of the distance",
)

plain_freq = np.array(rapt.Rotary(D).inv_freq())
linear = np.array(rapt.Rotary(D, scaling=rapt.LinearScaling(factor=4)).inv_freq())
proof(np.allclose(linear * 4, plain_freq, rtol=1e-6), "linear scaling turns a quarter as fast")
yarn = rapt.YarnScaling(factor=4, original_context=256)
stretched = np.array(rapt.Rotary(D, scaling=yarn).inv_freq())
proof(
    stretched[0] == plain_freq[0] and np.isclose(stretched[-1] * 4, plain_freq[-1], rtol=1e-6),
    "YaRN keeps fast pairs and slows the slow ones",
)
proof.exit()
