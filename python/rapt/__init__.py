"""Exact attention for language models on CPUs."""

from ._core import (
    BlockMask,
    Error,
    Mask,
    RelativeBias,
    alibi_slopes,
    attention,
    get_threads,
    set_threads,
)

__all__ = [
    "BlockMask",
    "Error",
    "Mask",
    "RelativeBias",
    "alibi_slopes",
    "attention",
    "get_threads",
    "set_threads",
]
