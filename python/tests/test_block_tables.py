"""An engine's own pages and block tables: the bits of plain tensors, and readable errors."""

import numpy as np
import oracle
import pytest
import torch

import rapt

LENGTHS = [300, 77]
CAUSAL = rapt.Mask.causal()


def engine(page_size, kv_heads=2, dim=16, v_dim=16, dtype=np.float32):
    """Plain k and v [sequences, tokens, heads, dim]; pages [pages, 2, size, heads, dim]; table."""
    k = oracle.random(2, max(LENGTHS), kv_heads, dim, seed=1).astype(dtype)
    v = oracle.random(2, max(LENGTHS), kv_heads, v_dim, seed=2).astype(dtype)
    entries = -(-max(LENGTHS) // page_size)
    order = np.random.default_rng(3).permutation(2 * entries)
    pages = np.full((2 * entries, 2, page_size, kv_heads, dim), np.nan, dtype)
    table = np.full((2, entries + 1), -1, np.int32)
    for b, length in enumerate(LENGTHS):
        for j in range(length):
            page = table[b, j // page_size] = order[b * entries + j // page_size]
            pages[page, 0, j % page_size] = k[b, j]
            pages[page, 1, j % page_size, :, :v_dim] = v[b, j]
    return k, v, pages, table


@pytest.mark.parametrize("page_size", [1, 7, 16])
@pytest.mark.parametrize("queries", [1, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_same_bits_as_plain_tensors(page_size, queries, dtype):
    k, v, pages, table = engine(page_size, dtype=dtype)
    q = oracle.random(2, queries, 4, 16, seed=4).astype(dtype)
    ranges = [(0, n) for n in LENGTHS]
    expected = rapt.attention(q, k, v, mask=CAUSAL, kv_ranges=ranges)
    blocks = rapt.BlockTables(pages[:, 0], pages[:, 1], table, LENGTHS)
    assert rapt.attention(q, cache=blocks, mask=CAUSAL).tobytes() == expected.tobytes()
    swapped = rapt.attention(q[::-1], cache=blocks, sequences=[1, 0], mask=CAUSAL)
    assert swapped.tobytes() == expected[::-1].tobytes()


def test_torch_tensors_of_heads_outside_of_tokens_are_read_live():
    k, v, pages, table = engine(16)
    outside = torch.from_numpy(pages).transpose(2, 3).contiguous()  # [pages, 2, H, size, D]
    blocks = rapt.BlockTables(
        outside[:, 0].transpose(1, 2),
        outside[:, 1].transpose(1, 2),
        torch.from_numpy(table),
        torch.tensor(LENGTHS, dtype=torch.int32),
    )
    q = torch.from_numpy(oracle.random(1, 1, 4, 16, seed=4))
    before = rapt.attention(q, cache=blocks, sequences=[0])
    expected = rapt.attention(q, torch.from_numpy(k[:1]), torch.from_numpy(v[:1]))
    assert torch.equal(before, expected)
    outside[:, 1] *= 2
    assert torch.equal(rapt.attention(q, cache=blocks, sequences=[0]), 2 * expected)


def test_values_may_be_a_view_of_keys():
    k, _, pages, table = engine(16, kv_heads=1)
    blocks = rapt.BlockTables(pages[:, 0], pages[:, 0, :, :, :12], table, LENGTHS)
    q = oracle.random(1, 3, 4, 16, seed=4)
    expected = rapt.attention(q, k[:1], k[:1, :, :, :12], mask=CAUSAL)
    got = rapt.attention(q, cache=blocks, sequences=[0], mask=CAUSAL)
    assert got.tobytes() == expected.tobytes()


def test_plans_say_how_pages_are_read():
    problem = rapt.Problem(q_tokens=1, kv_tokens=300, q_heads=4, kv_heads=2, head_dim=16)
    for page_size, expected in [(16, "read in place"), (7, "packed once a chunk")]:
        k, v, pages, table = engine(page_size)
        blocks = rapt.BlockTables(pages[:, 0], pages[:, 1], table, LENGTHS)
        plan = rapt.make_plan(problem, cache=blocks)
        assert expected in plan.explain("kv")
        q = oracle.random(1, 1, 4, 16, seed=4)
        assert (
            rapt.run(plan, q, cache=blocks).tobytes() == rapt.attention(q, k[:1], v[:1]).tobytes()
        )


def test_errors_say_what_was_expected():
    _, _, pages, table = engine(16)
    k, v = pages[:, 0], pages[:, 1]
    q = oracle.random(1, 1, 4, 16, seed=4)
    bad = table.copy()
    bad[0, 2] = len(pages)
    for refused, call in [
        (
            "entry 2 of its block table: expected a page from 0 to",
            lambda: rapt.attention(q, cache=rapt.BlockTables(k, v, bad, LENGTHS), sequences=[0]),
        ),
        (
            "entry 19 of its block table: expected a page from 0 to",
            lambda: rapt.attention(
                q, cache=rapt.BlockTables(k, v, table[:, :19], [310, 1]), sequences=[0]
            ),
        ),
        (
            "BlockTables.block_table: expected int32",
            lambda: rapt.BlockTables(k, v, table.astype(np.int64), LENGTHS),
        ),
        ("BlockTables.lengths: expected 2", lambda: rapt.BlockTables(k, v, table, [3])),
        ("BlockTables.lengths: expected 0 to", lambda: rapt.BlockTables(k, v, table, [3, -1])),
        ("BlockTables.v: expected", lambda: rapt.BlockTables(k, v[:, :9], table, LENGTHS)),
        ("attention.cache: expected a rapt.DenseKvCache", lambda: rapt.attention(q, cache=3)),
    ]:
        with pytest.raises(rapt.Error, match=refused):
            call()
