"""What transformers' mask functions hide, as a rapt.Mask and ranges of keys.

transformers describes a mask by a function of (batch, head, query, key), composed of a few known
ones. `structure_of` reads the composition; a function that it does not know gives None, and the
caller evaluates it for every pair.

Masks of rapt see tokens by slot and place (rapt.Mask). Here a sequence's slots begin at its first
key that is not padding, and end with the last query's own key wherever nothing after it is visible:
so a query's place is the slot of its own key, be the cache dynamic, sliding or static.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from inspect import getclosurevars
from operator import and_, or_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import rapt

__all__ = ["Extent", "Structure", "structure_of"]

MaskFunction = Callable[..., Any]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Structure:
    """A mask, and for each sequence the keys [begin, end) that are there; None: all of them."""

    mask: rapt.Mask
    kv_ranges: list[tuple[int, int]] | None


@dataclass(frozen=True)
class Extent:
    """Which tokens a mask function is asked of: query i is token q_offset + i, key j token
    kv_offset + j."""

    batch: int
    queries: int
    keys: int
    q_offset: int
    kv_offset: int

    @property
    def end(self) -> int:
        """The key after the last query's own."""
        return self.q_offset + self.queries - self.kv_offset


class _UnknownError(Exception):
    """A mask function that has no structure here."""


def structure_of(
    function: MaskFunction, extent: Extent, padding: Tensor | None
) -> Structure | None:
    """The structure of `function` and `padding`, or None if there is none that is exact.

    padding  bool [B, tokens], false where a token is padding; tokens beyond it are padding.
    """
    present = _present(padding, extent)
    if _name(function) == "bidirectional_mask_function":
        return _all_keys(extent, present)
    if not 0 <= extent.q_offset - extent.kv_offset <= extent.end <= extent.keys:
        return None
    try:
        return _Reader(extent, present).read(function)
    except _UnknownError:
        return None


def _present(padding: Tensor | None, extent: Extent) -> NDArray[np.bool_] | None:
    """Which keys are no padding, [B, keys]; None if all are there."""
    if padding is None:
        return None
    there = padding[:, extent.kv_offset : extent.kv_offset + extent.keys].bool().cpu().numpy()
    there = np.pad(there, ((0, 0), (0, extent.keys - there.shape[1])))
    return None if there.all() else there


def _range(there: NDArray[np.bool_]) -> tuple[int, int]:
    """From the first key that is there to the last one."""
    indices = np.flatnonzero(there)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, 0)


def _has_holes(present: NDArray[np.bool_], ranges: Sequence[tuple[int, int]]) -> bool:
    return any(end - begin != row.sum() for (begin, end), row in zip(ranges, present))


def _all_keys(extent: Extent, present: NDArray[np.bool_] | None) -> Structure | None:
    """Every key that is no padding."""
    if present is None:
        return Structure(rapt.Mask.none(), None)
    ranges = [_range(row) for row in present]
    return None if _has_holes(present, ranges) else Structure(rapt.Mask.none(), ranges)


def _name(function: MaskFunction) -> str:
    """The factory that made `function`, or its own name; empty if it is not transformers'."""
    if getattr(function, "__module__", None) != "transformers.masking_utils":
        return ""
    return str(getattr(function, "__qualname__", "")).partition(".")[0]


def _closure(function: MaskFunction) -> dict[str, Any]:
    return dict(getclosurevars(function).nonlocals)


class _Reader:
    """Reads one mask function."""

    def __init__(self, extent: Extent, present: NDArray[np.bool_] | None) -> None:
        self.extent = extent
        self.ahead = False  # whether keys after the last query's own may be visible
        self.index = np.arange(extent.keys, dtype=np.int64)[None] + extent.kv_offset  # of a key
        self.packed: Ids | None = None  # the document of a key, where several are in a row
        self.present = None if present is None else present[:, : extent.end]
        if self.present is not None and self.present.all():
            self.present = None
        self.begins = [0] * extent.batch
        self.lengths: list[int] | None = None  # slots without the padding on the right
        self.kinds: list[list[int]] | None = None  # 1 where a slot is no padding
        if self.present is not None:
            self._place_padding(self.present)

    def _place_padding(self, present: NDArray[np.bool_]) -> None:
        ranges = [_range(row) for row in present]
        if _has_holes(present, ranges):
            self.kinds = present.astype(np.int64).tolist()
            return
        self.begins = [begin for begin, _ in ranges]
        if any(end < self.extent.end for _, end in ranges):
            self.lengths = [end - begin for begin, end in ranges]

    def read(self, function: MaskFunction) -> Structure:
        mask = self._mask(function)
        end = self.extent.end
        if self.ahead and end < self.extent.keys:
            raise _UnknownError
        if self.lengths is not None:
            mask = mask & rapt.Mask.prefix(self.lengths)
        if self.kinds is not None:
            mask = mask & rapt.Mask.structure(self.kinds, [[False, True], [False, True]])
        trimmed = any(self.begins) or end < self.extent.keys
        return Structure(mask, [(begin, end) for begin in self.begins] if trimmed else None)

    def _mask(self, function: MaskFunction) -> rapt.Mask:
        read = {
            "and_masks": self._and,
            "or_masks": self._or,
            "causal_mask_function": self._causal,
            "bidirectional_mask_function": self._bidirectional,
            "sliding_window_overlay": self._window,
            "sliding_window_bidirectional_overlay": self._window_both,
            "chunked_overlay": self._chunks,
            "blockwise_overlay": self._blocks,
            "packed_sequence_mask_function": self._documents,
            "remap_positions_for_packed_sequence": self._remapped,
        }.get(_name(function))
        if read is None:
            raise _UnknownError
        return read(function)

    def _and(self, function: MaskFunction) -> rapt.Mask:
        parts = _closure(function)["mask_functions"]
        for part in parts:
            if _name(part) == "packed_sequence_mask_function":
                self.packed = _ids(_closure(part)["packed_sequence_mask"])
        aheads, masks = self._parts(parts)
        self.ahead = all(aheads)
        return reduce(and_, masks)

    def _or(self, function: MaskFunction) -> rapt.Mask:
        aheads, masks = self._parts(_closure(function)["mask_functions"])
        self.ahead = any(aheads)
        return reduce(or_, masks)

    def _parts(self, functions: Sequence[MaskFunction]) -> tuple[list[bool], list[rapt.Mask]]:
        """Whether each shows keys ahead, and its mask."""
        aheads, masks = [], []
        for function in functions:
            self.ahead = False
            masks.append(self._mask(function))
            aheads.append(self.ahead)
        return aheads, masks

    def _causal(self, function: MaskFunction) -> rapt.Mask:
        return rapt.Mask.causal()

    def _bidirectional(self, function: MaskFunction) -> rapt.Mask:
        self.ahead = True
        return rapt.Mask.none()

    def _window(self, function: MaskFunction) -> rapt.Mask:
        self.ahead = True
        tokens = int(_closure(function)["sliding_window"])
        if tokens < 1:
            raise _UnknownError
        return rapt.Mask.window(tokens - 1, self.extent.keys)

    def _window_both(self, function: MaskFunction) -> rapt.Mask:
        self.ahead = True
        tokens = int(_closure(function)["sliding_window"])
        if tokens < 0:
            raise _UnknownError
        return rapt.Mask.window(tokens, tokens)

    def _chunks(self, function: MaskFunction) -> rapt.Mask:
        self.ahead = True
        inside = _closure(function)
        begins = _ids(inside["left_padding"])[:, None]
        return self._documents_of((self.index - begins) // int(inside["chunk_size"]))

    def _blocks(self, function: MaskFunction) -> rapt.Mask:
        """Tokens of a block see each other; -1 is a token of none."""
        blocks = _ids(_closure(function)["block_sequence_ids"])
        blocks = blocks[:, self.extent.kv_offset :][:, : self.extent.keys]
        if blocks.shape[1] < self.extent.keys:
            raise _UnknownError
        self.ahead = bool((blocks[:, self.extent.end :] >= 0).any())
        inside = [self._slots(row, b) for b, row in enumerate((blocks >= 0).astype(np.int64))]
        return self._documents_of(blocks) & rapt.Mask.structure(
            inside, [[False, False], [False, True]]
        )

    def _documents(self, function: MaskFunction) -> rapt.Mask:
        return self._documents_of(_ids(_closure(function)["packed_sequence_mask"]))

    def _remapped(self, function: MaskFunction) -> rapt.Mask:
        """Positions that begin anew in each packed document: within one they differ as the tokens
        do, and `packed` hides the others."""
        inside = _closure(function)
        positions = _ids(inside["position_ids"])
        if self.packed is None or positions.shape[1] != self.extent.keys:
            raise _UnknownError
        same = self.packed[:, 1:] == self.packed[:, :-1]
        if (same & (np.diff(positions) != 1)).any():
            raise _UnknownError
        tokens, self.index = self.index, positions
        mask = self._mask(inside["mask_function"])
        self.index = tokens
        return mask

    def _documents_of(self, ids: Ids) -> rapt.Mask:
        """A mask of documents, from the id of each key."""
        rows = np.broadcast_to(ids, (self.extent.batch, self.extent.keys))
        if not any(self.begins) and (rows == rows[:1]).all():
            rows = rows[:1]
        return rapt.Mask.documents([self._slots(row, b) for b, row in enumerate(rows)])

    def _slots(self, row: Ids, b: int) -> list[int]:
        """What `row` has for the slots of sequence b."""
        slots: list[int] = row[self.begins[b] : self.extent.end].tolist()
        return slots


def _ids(tensor: Tensor) -> Ids:
    ids: Ids = tensor.cpu().numpy().astype(np.int64)
    return ids
