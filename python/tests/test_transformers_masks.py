"""Structured masks against the bool tensors that transformers makes of the same functions."""

import itertools

import pytest
import torch
from transformers import masking_utils as mu

import rapt
import rapt.transformers
from rapt.transformers.structure import Extent, structure_of

KEYS = 24
BLOCKS = torch.tensor([[-1] * 3 + [0] * 5 + [-1] * 4 + [1] * 4 + [-1] * 8])
DOCUMENTS = torch.tensor([[0] * 7 + [1] * 1 + [2] * 10 + [3] * 6])
POSITIONS = torch.tensor([[*range(7), *range(1), *range(10), *range(6)]])
FUNCTIONS = {
    "causal": lambda left: mu.causal_mask_function,
    "bidirectional": lambda left: mu.bidirectional_mask_function,
    "window": lambda left: mu.sliding_window_causal_mask_function(5),
    "window both": lambda left: mu.sliding_window_bidirectional_mask_function(3),
    "chunked": lambda left: mu.chunked_causal_mask_function(6, left),
    "blocks": lambda left: mu.or_masks(mu.causal_mask_function, mu.blockwise_overlay(blocks(left))),
    "window and blocks": lambda left: mu.or_masks(
        mu.sliding_window_causal_mask_function(3), mu.blockwise_overlay(blocks(left))
    ),
}
EXTENTS = {  # queries, keys, q_offset, kv_offset
    "prefill": (KEYS, KEYS, 0, 0),
    "chunk": (7, 19, 12, 0),
    "decode": (1, KEYS, KEYS - 1, 0),
    "static cache, empty": (9, KEYS, 0, 0),
    "static cache, decode": (1, KEYS, 13, 0),
    "sliding cache": (3, 9, 16, 10),
}
PADDING = {
    "none": lambda b: None,
    "all there": lambda b: torch.ones(b, KEYS, dtype=torch.bool),
    "left": lambda b: torch.arange(KEYS) >= 4 * torch.arange(b)[:, None],
    "right": lambda b: torch.arange(KEYS) < KEYS - 5 * torch.arange(b)[:, None],
    "holes": lambda b: (torch.arange(KEYS) + torch.arange(b)[:, None]) % 5 != 2,
    "nothing there": lambda b: torch.arange(b)[:, None].expand(b, KEYS) > 0,
    "short": lambda b: torch.ones(b, 14, dtype=torch.bool),
}


def blocks(left):
    return BLOCKS.expand(len(left), -1)


def visible(structure, extent):
    """Which keys each query sees, read off the weights that it gives them."""
    b, i, j = extent.batch, extent.queries, extent.keys
    values = torch.eye(j)[None, :, None].expand(b, j, 1, j)
    weights = rapt.attention(
        torch.zeros(b, i, 1, 1),
        torch.zeros(b, j, 1, 1),
        values,
        mask=structure.mask,
        kv_ranges=structure.kv_ranges,
    )
    return (torch.as_tensor(weights) > 0).transpose(1, 2)


def wanted(function, extent, padding):
    return mu.sdpa_mask(
        batch_size=extent.batch,
        q_length=extent.queries,
        kv_length=extent.keys,
        q_offset=extent.q_offset,
        kv_offset=extent.kv_offset,
        mask_function=function,
        attention_mask=padding,
        allow_is_causal_skip=False,
    )


def left_padding(padding, batch):
    if padding is None:
        return torch.zeros(batch, dtype=torch.int64)
    return (padding.cumsum(-1) == 0).sum(-1)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_structure_shows_what_the_function_shows(name, extent, padding):
    extent = Extent(3, *EXTENTS[extent])
    padding = PADDING[padding](3)
    function = FUNCTIONS[name](left_padding(padding, 3))
    structure = structure_of(function, extent, padding)
    if structure is None:
        assert may_be_dense(name, extent, padding)
        return
    want = wanted(function, extent, padding)
    real = queries_that_are_no_padding(extent, padding)
    got = visible(structure, extent)
    assert torch.equal(got[:, 0][real], want[:, 0][real])


def may_be_dense(name, extent, padding):
    """Where a structure is not expected: keys beyond the last query that may be visible, and
    bidirectional attention over padding with holes."""
    ahead = extent.end < extent.keys and ("both" in name or "blocks" in name)
    return ahead or (name == "bidirectional" and padding is not None)


def queries_that_are_no_padding(extent, padding):
    tokens = torch.arange(extent.queries) + extent.q_offset
    if padding is None:
        return torch.ones(extent.batch, extent.queries, dtype=torch.bool)
    there = torch.cat([padding, torch.zeros(extent.batch, KEYS, dtype=torch.bool)], 1)
    return there[:, tokens]


def test_most_masks_are_structure():
    """Otherwise the test above could pass on nothing."""
    cases = itertools.product(FUNCTIONS, EXTENTS, PADDING)
    dense = [
        case
        for name, extent, padding in cases
        if structure_of(
            FUNCTIONS[name](left_padding(PADDING[padding](3), 3)),
            Extent(3, *EXTENTS[extent]),
            PADDING[padding](3),
        )
        is None
        for case in [(name, extent, padding)]
    ]
    assert len(dense) < 50, dense


@pytest.mark.parametrize("inner", ["causal", "window", "chunked", "blocks"])
def test_packed_documents(inner):
    extent = Extent(2, KEYS, KEYS, 0, 0)
    positions = POSITIONS.expand(2, -1)
    function = mu.remap_positions_for_packed_sequence(
        FUNCTIONS["causal" if inner == "blocks" else inner](torch.zeros(2, dtype=torch.int64)),
        positions,
    )
    if inner == "blocks":
        function = mu.or_masks(function, mu.blockwise_overlay(BLOCKS.expand(2, -1)))
    packed = mu.packed_sequence_mask_function(DOCUMENTS.expand(2, -1))
    function = mu.and_masks(function, packed)
    structure = structure_of(function, extent, None)
    assert structure is not None
    assert torch.equal(visible(structure, extent), wanted(function, extent, None))


def test_positions_that_jump_inside_a_document_have_no_structure():
    positions = 2 * torch.arange(KEYS)[None]
    function = mu.and_masks(
        mu.remap_positions_for_packed_sequence(mu.causal_mask_function, positions),
        mu.packed_sequence_mask_function(torch.zeros(1, KEYS, dtype=torch.int64)),
    )
    assert structure_of(function, Extent(1, KEYS, KEYS, 0, 0), None) is None


def test_functions_of_others_have_no_structure():
    extent = Extent(1, KEYS, KEYS, 0, 0)

    def causal_mask_function(b, h, q, k):
        return k < q

    assert structure_of(causal_mask_function, extent, None) is None
    both = mu.and_masks(mu.causal_mask_function, causal_mask_function)
    assert structure_of(both, extent, None) is None


def test_unknown_functions_arrive_exactly():
    function = mu.and_masks(mu.causal_mask_function, lambda b, h, q, k: (q + k) % 3 != 1)
    made = rapt.transformers.mask(
        batch_size=2, q_length=9, kv_length=9, q_offset=0, mask_function=function, use_vmap=True
    )
    assert made.shape == (2, 1, 9, 9)
    extent = Extent(2, 9, 9, 0, 0)
    assert torch.equal(visible(made, extent), wanted(function, extent, None))


def test_masks_have_no_memory_of_queries_times_keys():
    made = rapt.transformers.mask(batch_size=4, q_length=10**6, kv_length=10**6, q_offset=0)
    assert made.shape == (4, 1, 10**6, 10**6)
    assert made.dtype == torch.bool and made.stride() == (0, 0, 0, 0)


def test_nothing_is_computed_with_a_mask():
    made = rapt.transformers.mask(batch_size=1, q_length=4, kv_length=4)
    for attempt in (
        lambda: torch.zeros(4, 4) + made,
        lambda: made[0],
        lambda: torch.where(made, 1, 0),
    ):
        with pytest.raises(rapt.Error, match="attn_implementation"):
            attempt()
