import numpy as np
import oracle
import pytest
import torch

import rapt

Mask = rapt.Mask
T = 12
IDS = [0, 0, 0, 1, 1, 0, 2, 2, 2, 2, 1, 1]
ids = np.array(IDS)
SEES = [[True, False, False], [True, True, False], [False, True, True]]


def ancestors(i, j):
    """Slots 8 .. 11 are a tree; 9 and 10 follow 8, 11 follows 9."""
    seen = {8: {8}, 9: {8, 9}, 10: {8, 10}, 11: {8, 9, 11}}
    table = np.tri(T, dtype=bool)
    for query, keys in seen.items():
        table[query, 8:] = [key in keys for key in range(8, T)]
    return table


def bits():
    return np.random.default_rng(0).random((1, 1, T, T)) < 0.5


def blocks():
    mask = rapt.BlockMask(3, 3, q_block=4, kv_block=4)
    for x, y in [(0, 0), (1, 2), (2, 1)]:
        mask.set(0, 0, x, y)
    assert mask.count() == 3 and mask.at(0, 0, 1, 2) and not mask.at(0, 0, 2, 2)
    return mask


KINDS = {
    "none": (Mask.none(), lambda i, j: (i >= 0) | (j >= 0)),
    "causal": (Mask.causal(), lambda i, j: j <= i),
    "causal_top_left": (Mask.causal_top_left(), lambda i, j: j <= i),
    "sliding_window": (Mask.sliding_window(3), lambda i, j: (j <= i) & (j > i - 3)),
    "window": (Mask.window(2, 1), lambda i, j: (j <= i + 1) & (j >= i - 2)),
    "strided": (Mask.strided(3), lambda i, j: (i - j) % 3 == 0),
    "dilated_window": (
        Mask.dilated_window(3, 2),
        lambda i, j: ((i - j) % 2 == 0) & (j <= i) & (j > i - 6),
    ),
    "prefix": (Mask.prefix([4]), lambda i, j: (j < 4) & (i >= 0)),
    "documents": (Mask.documents([IDS]), lambda i, j: ids[i] == ids[j]),
    "documents of an array": (Mask.documents(ids[None]), lambda i, j: ids[i] == ids[j]),
    "documents_from_offsets": (
        Mask.documents_from_offsets([[0, 5, 12]]),
        lambda i, j: (i < 5) == (j < 5),
    ),
    "structure": (Mask.structure([IDS], SEES), lambda i, j: np.array(SEES)[ids[i], ids[j]]),
    "global_": (Mask.global_([[0, 7]]), lambda i, j: np.isin(i, [0, 7]) | np.isin(j, [0, 7])),
    "tree": (Mask.tree([[-1, 0, 0, 1]]), ancestors),
    "blocks": (
        Mask.blocks(blocks()),
        lambda i, j: np.eye(3, dtype=bool)[[0, 2, 1]][i // 4, j // 4],
    ),
    "dense": (Mask.dense(bits()), lambda i, j: bits()[0, 0]),
    "dense of torch": (Mask.dense(torch.from_numpy(bits())), lambda i, j: bits()[0, 0]),
}


def expected(kind):
    return oracle.visible_by(KINDS[kind][1], T, T)


@pytest.mark.parametrize("kind", KINDS)
def test_shows_what_it_says(kind):
    mask = KINDS[kind][0]
    assert np.array_equal(mask.visible(T)[0, 0], expected(kind))
    q, k, v = (oracle.random(1, T, 2, 8, seed=s) for s in range(3))
    o, _ = oracle.attention(q, k, v, expected(kind))
    np.testing.assert_allclose(rapt.attention(q, k, v, mask=mask), o, atol=2e-6)


def test_every_factory_is_tried():
    factories = {n for n, x in vars(Mask).items() if not n.startswith("_")} - {"draw", "visible"}
    assert factories <= set(KINDS)


@pytest.mark.parametrize("a", ["causal", "documents", "dense"])
@pytest.mark.parametrize("b", ["window", "prefix", "strided"])
def test_composes(a, b):
    x, y = KINDS[a][0], KINDS[b][0]
    x_bits, y_bits = expected(a), expected(b)
    assert np.array_equal((x & y).visible(T)[0, 0], x_bits & y_bits)
    assert np.array_equal((x | y).visible(T)[0, 0], x_bits | y_bits)
    assert np.array_equal((~x).visible(T)[0, 0], ~x_bits)
    assert "and" in repr(x & y) and repr(x)[len("<rapt.Mask: ") : -1] in repr(x & y)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (0, 1, 2, 3)])
def test_dense_of_axes_that_are_expanded(axes):
    shape, own = (2, 2, T, T), tuple(1 if a in axes else n for a, n in enumerate((2, 2, T, T)))
    expanded = np.broadcast_to(np.random.default_rng(1).random(own) < 0.5, shape)
    q, k, v = (oracle.random(2, T, 2, 8, seed=s) for s in range(3))
    o = rapt.attention(q, k, v, mask=Mask.dense(expanded))
    assert np.array_equal(o, rapt.attention(q, k, v, mask=Mask.dense(expanded.copy())))
    assert np.array_equal(Mask.dense(expanded).visible(T, batch=2, heads=2), expanded)
    with pytest.raises(rapt.Error, match="Mask::dense bits"):
        rapt.attention(q[:, :5], k[:, :5], v[:, :5], mask=Mask.dense(expanded))


def test_axes_that_are_expanded_are_packed_once():
    Mask.dense(np.broadcast_to(np.ones((1, 1, 1, T), bool), (1 << 20, 1, 1 << 19, T)))


def test_alignment_and_picture():
    assert Mask.causal().draw(2, 4).split() == "# # # . # # # #".split()
    assert np.array_equal(Mask.causal().visible(2, 4)[0, 0], np.tri(2, 4, 2, dtype=bool))
    assert np.array_equal(Mask.causal_top_left().visible(2, 4)[0, 0], np.tri(2, 4, dtype=bool))


def test_lists_of_each_sequence():
    mask = Mask.prefix([1, 3])
    assert mask.visible(4, batch=2).any(axis=2).sum(axis=2).tolist() == [[1], [3]]


def test_blocks_of_largest_score():
    scores = oracle.random(1, 2, 5, 5)
    mask = Mask.blocks(rapt.BlockMask.from_top(scores, 2, q_block=1, kv_block=1))
    top = np.sort(scores, axis=3)[..., -2:-1]
    assert np.array_equal(mask.visible(5, heads=2), scores >= top)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mask.sliding_window(0),
        lambda: Mask.documents([0, 1]),
        lambda: Mask.documents(np.zeros((1, 4))),
        lambda: Mask.dense(np.ones((4, 4), bool)),
        lambda: Mask.dense(np.ones((1, 1, 4, 4), np.int64)),
        lambda: Mask.prefix([2, 3]).visible(4),
        lambda: rapt.BlockMask(-1, 2),
    ],
)
def test_refuses(make):
    with pytest.raises(rapt.Error, match=r"expected .*, got "):
        make()
