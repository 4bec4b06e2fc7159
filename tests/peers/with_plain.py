"""Implementations for the test of bench/peers: one right, the others wrong."""

import os

import numpy as np

from implementation import Implementation, Unsupported
from operands import to_bf16, widened


class Plain(Implementation):
    name = "plain"

    def attend(self, case, q, k, v):
        """Two passes in f32, a query at a time."""
        out = np.empty(q.shape, np.float32)
        for head in range(case.q_heads):
            keys, values = k[0, head // case.group], v[0, head // case.group]
            for row in range(case.q_tokens):
                seen = slice(*case.keys_of(row))
                scores = keys[seen] @ q[0, head, row] / np.float32(case.head_dim**0.5)
                weights = np.exp(scores - scores.max())
                out[0, head, row] = weights @ values[seen] / weights.sum()
        return to_bf16(out) if case.dtype == "bf16" else out

    def calls(self, case, operands, threads):
        q = widened(operands.q("heads"))
        copies = [map(widened, copy) for copy in operands.kv("heads")]
        return [lambda k=k, v=v: self.attend(case, q, k, v) for k, v in copies]

    def heads(self, case, output):
        return output


class WrongLayout(Plain):
    name = "wrong layout"

    def heads(self, case, output):
        tokens = output.reshape(1, case.q_tokens, case.q_heads, case.head_dim)
        return output if case.decodes else tokens.transpose(0, 2, 1, 3)


class WithoutMask(Plain):
    name = "without mask"

    def attend(self, case, q, k, v):
        whole = type(case)(**{**vars(case), "window": None})
        return super().attend(whole, q, k, v)


class WrongLater(Plain):
    """Right on few tokens only."""

    name = "wrong later"

    def calls(self, case, operands, threads):
        first, *_ = super().calls(case, operands, threads)
        self.prepared = getattr(self, "prepared", 0) + 1
        return [first if self.prepared % 2 else lambda: np.full_like(first(), np.nan)]


class Aborts(Plain):
    """Ends its process when it is repeated."""

    name = "aborts"

    def calls(self, case, operands, threads):
        first, *_ = super().calls(case, operands, threads)
        count = iter([first, os.abort])
        return [lambda: next(count)()]


class Refuses(Plain):
    name = "refuses"

    def calls(self, case, operands, threads):
        raise Unsupported("not on a Friday")


def implementations():
    wrong = (WrongLayout, WithoutMask, WrongLater, Aborts, Refuses)
    return [Plain(), *(kind() for kind in wrong)]


def version():
    return {"plain": "1"}
