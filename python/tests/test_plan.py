import numpy as np
import oracle
import pytest
import torch

import rapt

T, CHUNKS = 1300, 3
Q = oracle.random(1, 40, 4, 16, seed=1)
K, V = (oracle.random(1, T, 2, 16, seed=s) for s in (2, 3))
MASK = rapt.Mask.causal()


def problem(**changes):
    arguments = {"q_tokens": 40, "kv_tokens": T, "q_heads": 4, "kv_heads": 2, "head_dim": 16}
    return rapt.Problem(**{**arguments, "mask": MASK, **changes})


def same(a, b):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b))


@pytest.fixture
def whole():
    return rapt.attention(Q, K, V, mask=MASK, return_lse=True)


def test_run_is_attention(whole):
    plan = rapt.make_plan(problem())
    assert same(rapt.run(plan, Q, K, V, return_lse=True), whole)
    out = np.empty_like(Q)
    assert rapt.run(plan, Q, K, V, out=out) is out and same([out], whole[:1])
    assert plan.scratch_bytes > 0 and plan.explain("kernels") in plan.explain()
    assert problem().visible_pairs == 4 * sum(T - 39 + i for i in range(40))


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_states_merge_to_the_bits_of_a_run(whole, library):
    plan = rapt.make_plan(problem())
    tensors = [library(x) for x in (Q, K, V)]
    parts = [rapt.run_partial(plan, *tensors, begin=c, end=c + 1) for c in range(CHUNKS)]
    left = rapt.merge(rapt.merge(parts[0], parts[1]), parts[2])
    right = rapt.merge(parts[0], rapt.merge(parts[1], parts[2]))
    assert left.chunks == (0, CHUNKS) and rapt.CHUNK * CHUNKS >= T
    assert same(rapt.finish(left), whole) and same(rapt.finish(right), whole)
    assert type(rapt.finish(left)[0]) is type(tensors[0])
    with pytest.raises(rapt.Error, match="chunks"):
        rapt.merge(parts[0], parts[2])


def test_finished_results_merge_within_the_bound(whole):
    halves = [
        rapt.attention(Q, K[:, s], V[:, s], return_lse=True, q_positions=range(T - 40, T))
        for s in (slice(0, 700), slice(700, None))
    ]
    o, lse = rapt.merge_finished(*halves[0], *halves[1])
    expected = rapt.attention(Q, K, V, return_lse=True)
    np.testing.assert_allclose(o, expected[0], atol=1e-6)
    np.testing.assert_allclose(lse, expected[1], atol=2e-6)


def test_rows_are_the_weights_and_scores():
    rows = [0, 39]
    plan = rapt.make_plan(problem())
    weights = rapt.attention_rows(plan, Q, K, V, rows=rows)
    assert weights.shape == (1, 4, 2, T)
    np.testing.assert_allclose(weights.sum(axis=3), 1, atol=1e-5)
    o = np.einsum("bhij,bjhe->bihe", weights, np.repeat(V, 2, axis=2))
    np.testing.assert_allclose(o, rapt.attention(Q, K, V, mask=MASK)[:, rows], atol=1e-6)
    scores = rapt.attention_rows(plan, Q, K, V, rows=rows, kind="scores")
    assert (np.isneginf(scores) == (weights == 0)).all()
    with pytest.raises(rapt.Error, match="weights or scores, got words"):
        rapt.attention_rows(plan, Q, K, V, rows=rows, kind="words")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_caches_give_the_bits_of_tensors(dtype):
    kind = getattr(torch, dtype)
    k, v = (torch.from_numpy(x).to(kind) for x in (K, V))
    q = torch.from_numpy(Q)
    cache = rapt.DenseKvCache(capacity=T, kv_heads=2, head_dim=16, dtype=dtype)
    for first in range(0, T, 500):
        cache.append(k[:, first : first + 500], v[:, first : first + 500])
    assert cache.length() == T == cache.capacity
    expected = rapt.attention(q, k, v, mask=MASK, return_lse=True)
    assert same(rapt.attention(q, cache=cache, mask=MASK, return_lse=True), expected)
    plan = rapt.make_plan(problem(dtypes=["float32", dtype, dtype, "float32"]), from_cache=True)
    assert same(rapt.run(plan, q, cache=cache, return_lse=True), expected)
    read_k, _ = cache.read(0, 7)
    assert np.array_equal(read_k.astype(np.float32), k[:, :7].float().numpy())
    cache.truncate(0, 100)
    shorter = rapt.attention(q, k[:, :100], v[:, :100])
    assert same([rapt.attention(q, cache=cache)], [shorter])


def test_sequences_of_a_cache_have_lengths_of_their_own():
    cache = rapt.DenseKvCache(capacity=30, kv_heads=2, head_dim=16, batch=2)
    cache.append(K[:, :30], V[:, :30], sequence=0)
    cache.append(K[:, 50:60], V[:, 50:60], sequence=1)
    o = rapt.attention(np.repeat(Q[:, :3], 2, axis=0), cache=cache, mask=MASK)
    first = rapt.attention(Q[:, :3], K[:, :30], V[:, :30], mask=MASK)
    second = rapt.attention(Q[:, :3], K[:, 50:60], V[:, 50:60], mask=MASK)
    assert same([o[:1], o[1:]], [first, second])


def test_refuses():
    cache = rapt.DenseKvCache(capacity=2, kv_heads=2, head_dim=16)
    for refused, got in [
        (lambda: rapt.attention(Q, K, V, cache=cache), "both"),
        (lambda: rapt.attention(Q, cache=K), "ndarray"),
        (lambda: rapt.attention(Q), "NoneType"),
        (lambda: cache.append(K, V), "1300"),
        (lambda: cache.length(1), "got 1"),
        (lambda: rapt.DenseKvCache(capacity=1, kv_heads=1, head_dim=1, dtype="f32"), "f32"),
        (lambda: problem(kv_heads=3), "got 4"),
        (lambda: problem(dtypes=["float32"]), "got 1"),
        (lambda: rapt.run(rapt.make_plan(problem()), Q[:, :5], K, V), "5"),
    ]:
        with pytest.raises(rapt.Error, match="expected") as error:
            refused()
        assert got in str(error.value)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("lengths", [[3, 0, 17, 3, 1], [200], [150, 2, 2]])
def test_varlen_has_the_bits_of_each_alone(library, lengths):
    kv_lengths = [n + 5 for n in lengths]
    q_offsets, kv_offsets = np.cumsum([0, *lengths]), np.cumsum([0, *kv_lengths])
    q = library(oracle.random(q_offsets[-1], 4, 16, seed=1))
    k, v = (library(oracle.random(kv_offsets[-1], 2, 16, seed=s)) for s in (2, 3))
    o, lse = rapt.attention_varlen(
        q, k, v, q_offsets, kv_offsets.tolist(), mask=MASK, sinks=[0.1] * 4, return_lse=True
    )
    assert type(o) is type(q) and o.shape == q.shape and lse.shape == (4, q.shape[0])
    for b in range(len(lengths)):
        rows, keys = slice(*q_offsets[b : b + 2]), slice(*kv_offsets[b : b + 2])
        alone = rapt.attention(
            q[None, rows], k[None, keys], v[None, keys], mask=MASK, sinks=[0.1] * 4, return_lse=True
        )
        assert same([o[None, rows], lse[None, :, rows]], alone)


def test_varlen_refuses():
    q = oracle.random(10, 2, 8)
    for offsets in ([0, 5], [1, 10], [0, 7, 5, 10], []):
        with pytest.raises(rapt.Error, match="cu_seqlens_q: expected offsets"):
            rapt.attention_varlen(q, q, q, offsets, [0, 10])
    with pytest.raises(rapt.Error, match=r"attention_varlen.v: expected 10 tokens, .* got 5"):
        rapt.attention_varlen(q, q, q[:5], [0, 10], [0, 10])
    with pytest.raises(rapt.Error, match="cu_seqlens_k: expected 2 offsets, got 3"):
        rapt.attention_varlen(q, q, q, [0, 10], [0, 5, 10])


def test_kept_mass_is_the_share_of_the_weights():
    q, k, v = (x[:, :60] for x in (Q, K, V))
    given = problem(kv_tokens=60, sinks=[3.0] * 4)
    window = rapt.Mask.sliding_window(8)
    plan = rapt.make_plan(problem(kv_tokens=60))
    weights = rapt.attention_rows(plan, q, k, v, rows=range(40))
    shown = (MASK & window).visible(40, 60)
    shares = (weights * shown).sum(axis=3)[0]
    kept = rapt.kept_mass(given, window, q, k, v)
    np.testing.assert_allclose([x.mean for x in kept], shares.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose([x.least for x in kept], shares.min(axis=1), atol=1e-5)
    assert [x.rows for x in kept] == [40] * 4
    cache = rapt.DenseKvCache(capacity=60, kv_heads=2, head_dim=16)
    cache.append(k, v)
    of_cache = rapt.kept_mass(given, window, q, cache=cache)
    assert [x.mean for x in of_cache] == [x.mean for x in kept]
    with pytest.raises(rapt.Error, match="expected"):
        rapt.kept_mass(given, window, Q[:, :5], k, v)
