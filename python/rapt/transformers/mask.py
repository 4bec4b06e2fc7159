"""The mask that rapt's mask function gives to models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

import rapt
from rapt.transformers.structure import Structure

__all__ = ["StructuredMask"]


class StructuredMask(Tensor):
    """A mask as a model passes it from transformers' mask function to its attention.

    A bool tensor [B, 1, Tq, Tk] by its shape, of one element by its memory: what hides keys is
    `mask` and `kv_ranges`. Nothing may be computed with it, so that a model whose attention does
    not call transformers' attention interface stops with a rapt.Error.
    """

    mask: rapt.Mask
    kv_ranges: list[tuple[int, int]] | None

    @classmethod
    def structured(cls, structure: Structure, shape: Sequence[int]) -> StructuredMask:
        """The mask of `structure`."""
        made = torch.ones((), dtype=torch.bool).expand(*shape).as_subclass(cls)
        made.mask, made.kv_ranges = structure.mask, structure.kv_ranges
        return made

    @classmethod
    def dense(cls, visible: Tensor) -> StructuredMask:
        """The mask of a bool tensor [B, 1 or Hq, Tq, Tk]."""
        return cls.structured(Structure(rapt.Mask.dense(visible), None), visible.shape)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _METADATA:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        if func in _SAME:
            return args[0]
        raise rapt.Error(
            f"attn_implementation: {getattr(func, '__name__', func)} of a mask of rapt: this model"
            ' does its attention itself, expected one that asks attn_implementation="rapt"'
        )


_METADATA = {
    getattr(Tensor, name).__get__
    for name in ("shape", "dtype", "device", "ndim", "requires_grad", "layout", "is_meta")
} | {Tensor.size, Tensor.dim, Tensor.numel, Tensor.stride, Tensor.is_floating_point}
_SAME = {Tensor.contiguous, Tensor.detach}
