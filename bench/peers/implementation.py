"""What an implementation of attention has to offer to be measured."""

import contextlib

import numpy as np

from operands import widened


class Unsupported(Exception):
    """Says why a library cannot run a case."""


class Implementation:
    """One way to compute a case with one library."""

    name = ""

    def serves(self, case):
        """False where this way is the same as another one."""
        return True

    def lay_out(self, case, operands):
        """Stores keys and values as the library itself would: memory that a caller has anyway."""
        for layout in ("heads", "tokens"):
            operands.q(layout)
            operands.kv(layout)

    def calls(self, case, operands, threads):
        """A function without arguments for each copy of keys and values, which does one call and
        returns the output. What it needs is laid out and compiled here, as the library likes it.

        @throws Unsupported, or whatever the library says.
        """
        raise NotImplementedError

    def heads(self, case, output):
        """An output as an array [1, Hq, Tq, D] of what is stored, bf16 as bits in uint16."""
        raise NotImplementedError

    def context(self):
        """Entered around some calls."""
        return contextlib.nullcontext()


def error_of(implementation, case, operands, output, exact):
    """The largest |o - o64| of the compared rows; infinite if an output is not finite."""
    heads = widened(np.asarray(implementation.heads(case, output)))
    expected = (1, case.q_heads, case.q_tokens, case.head_dim)
    if heads.shape != expected:
        raise ValueError(f"expected an output {expected}, got {heads.shape}")
    errors = np.abs(heads[0, :, operands.compared_rows()].swapaxes(0, 1) - exact)
    return float(errors.max()) if np.isfinite(errors).all() else float("inf")


def visible_pairs(case):
    """The mask as booleans [Tq, Tk]."""
    mask = np.zeros((case.q_tokens, case.kv_tokens), bool)
    for query in range(case.q_tokens):
        mask[query, slice(*case.keys_of(query))] = True
    return mask
