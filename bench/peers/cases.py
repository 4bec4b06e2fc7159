"""What is compared: cases of `rapt bench` that other libraries can run too, by the same names."""

import dataclasses
import math

# Caches of decodes take turns at so many bytes of copies, as in `rapt bench`: no cache serves them.
ROTATED_BYTES = 1 << 30
ELEMENT_BYTES = {"f32": 4, "bf16": 2}


@dataclasses.dataclass(frozen=True)
class Case:
    """Causal attention, aligned so that the last query meets the last key.

    q [1, Tq, Hq, D]   k, v [1, Tk, Hkv, D]   o [1, Tq, Hq, D], all in `dtype`.
    """

    name: str
    dtype: str
    q_heads: int
    kv_heads: int
    head_dim: int
    q_tokens: int
    kv_tokens: int
    window: int | None = None  # keys that a query sees at most, its own included
    hot: bool = False  # calls read what the last one did

    @property
    def group(self):
        return self.q_heads // self.kv_heads

    @property
    def decodes(self):
        return self.q_tokens == 1

    def keys_of(self, query):
        """The first key that a query sees, and the one after the last."""
        end = self.kv_tokens - self.q_tokens + query + 1
        return max(0, end - (self.window or end)), end

    @property
    def flops(self):
        """Of visible (query, key) pairs only."""
        pairs = sum(end - first for first, end in map(self.keys_of, range(self.q_tokens)))
        return 4 * self.q_heads * pairs * self.head_dim

    @property
    def kv_bytes(self):
        elements = 2 * self.kv_heads * self.kv_tokens * self.head_dim
        return elements * ELEMENT_BYTES[self.dtype]

    @property
    def bytes(self):
        """Every input read once, every output written once; 0 if they are hot."""
        queries = 2 * self.q_heads * self.q_tokens * self.head_dim * ELEMENT_BYTES[self.dtype]
        return 0 if self.hot else queries + self.kv_bytes

    @property
    def copies(self):
        """Copies of keys and values that the calls take turns at."""
        rotates = self.decodes and not self.hot
        return math.ceil(ROTATED_BYTES / self.kv_bytes) if rotates else 1

    def cut(self):
        """The same on few tokens, to see that an implementation computes it at all."""
        tokens = min(self.kv_tokens, 200)
        return dataclasses.replace(
            self,
            q_tokens=min(self.q_tokens, tokens),
            kv_tokens=tokens,
            window=self.window and 24,
        )


def _cases():
    prefill = {"q_heads": 8, "kv_heads": 8, "head_dim": 128, "q_tokens": 4096, "kv_tokens": 4096}
    gqa = {"q_heads": 32, "kv_heads": 8, "head_dim": 128, "q_tokens": 1, "kv_tokens": 65536}
    small = {"q_heads": 8, "kv_heads": 8, "head_dim": 64, "q_tokens": 1, "kv_tokens": 128}
    return (
        Case("prefill/f32/causal/d128/t4096/h8", "f32", **prefill),
        Case("prefill/bf16/causal/d128/t4096/h8", "bf16", **prefill),
        Case("prefill/f32/window256/d128/t4096/h8", "f32", **prefill, window=256),
        Case("decode/f32/gqa32x8/d128/t65536", "f32", **gqa),
        Case("decode/bf16/gqa32x8/d128/t65536", "bf16", **gqa),
        Case("decode/f32/mha/d128/t4096", "f32", **{**prefill, "q_tokens": 1}),
        Case("small/f32/causal/d64/t128/h8", "f32", **small, hot=True),
    )


CASES = {case.name: case for case in _cases()}
