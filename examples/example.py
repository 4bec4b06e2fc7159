"""What the examples in Python share: random numbers, equality of bits, a list of what was shown."""

from __future__ import annotations

import sys

import numpy as np


def random(*shape: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Normal numbers of deviation `scale`."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Stricter than ==, which takes -0 for 0 and NaN for different from itself."""
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def print_shape(name: str, x: np.ndarray) -> None:
    print(f"{name:14} {list(x.shape)}")


class Proof:
    """Prints each statement with whether it holds; the program exits with 1 if one does not."""

    def __init__(self) -> None:
        self.failed = False

    def __call__(self, holds: object, statement: str) -> None:
        print("[ok]    " if holds else "[FAILED]", statement)
        self.failed = self.failed or not holds

    def exit(self) -> None:
        sys.exit(1 if self.failed else 0)
