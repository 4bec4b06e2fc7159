"""The numbers of a case, in the layouts that libraries want, and their exact attention."""

import functools

import numpy as np

# Rows of a prefill that are compared with f64.
COMPARED_ROWS = 64


def to_bf16(x):
    """f32 rounded to the nearest bf16, ties to even, as its 16 bits."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def widened(x):
    """f32 of what is stored, exactly."""
    return (x.astype(np.uint32) << 16).view(np.float32) if x.dtype == np.uint16 else x


class Operands:
    """q, k and v of a case: normal numbers, bf16 as bits in uint16. Keys and values are `copies`
    times the same, at addresses of their own.

    Layouts: "heads" [1, H, T, D] and "tokens" [1, T, H, D], both contiguous.
    """

    def __init__(self, case, copies):
        self.case, self.copies = case, copies
        draw = np.random.default_rng(1)
        extents = [(case.q_heads, case.q_tokens)] + 2 * [(case.kv_heads, case.kv_tokens)]
        drawn = [draw.standard_normal((1, *e, case.head_dim), dtype=np.float32) for e in extents]
        if case.dtype == "bf16":
            drawn = [to_bf16(x) for x in drawn]
        self._laid_out = {("heads", 0): tuple(drawn)}

    def q(self, layout):
        return self._copy(layout, 0)[0]

    def kv(self, layout):
        """[(k, v)], one a copy."""
        return [self._copy(layout, n)[1:] for n in range(self.copies)]

    def _copy(self, layout, n):
        key = (layout, n)
        if key not in self._laid_out:
            first = self._laid_out["heads", 0]
            source = first if layout == "heads" else [x.transpose(0, 2, 1, 3) for x in first]
            self._laid_out[key] = tuple(np.array(x, order="C") for x in source)
        return self._laid_out[key]

    def compared_rows(self):
        """Queries that are compared: the first, the last and some between."""
        rows = np.linspace(0, self.case.q_tokens - 1, COMPARED_ROWS)
        return sorted(set(rows.astype(int).tolist()))

    @functools.cached_property
    def exact(self):
        """o of `compared_rows()` in f64: [Hq, rows, D]."""
        case, rows = self.case, self.compared_rows()
        q, k, v = (widened(x)[0] for x in self._laid_out["heads", 0])
        out = np.empty((case.q_heads, len(rows), case.head_dim))
        for kv_head in range(case.kv_heads):
            keys, values = k[kv_head].astype(np.float64), v[kv_head].astype(np.float64)
            for head in range(kv_head * case.group, (kv_head + 1) * case.group):
                for n, row in enumerate(rows):
                    seen = slice(*case.keys_of(row))
                    scores = keys[seen] @ q[head, row].astype(np.float64) / case.head_dim**0.5
                    weights = np.exp(scores - scores.max())
                    out[head, n] = weights @ values[seen] / weights.sum()
        return out
