import gc

import numpy as np
import oracle
import pytest
import torch

import rapt

T, LAYERS = 1300, 2
Q = oracle.random(1, 40, 4, 16, seed=1)
K, V = (oracle.random(LAYERS, T, 2, 16, seed=s) for s in (2, 3))
MASK = rapt.Mask.causal()


def pages_of(page_size=48, pages=100, dtype="float32"):
    return rapt.PagedKvCache(
        pages=pages, kv_heads=2, head_dim=16, layers=LAYERS, page_size=page_size, dtype=dtype
    )


def append(cache, sequence, k, v):
    first, tokens = cache.length(sequence), k.shape[1]
    cache.extend(sequence, tokens)
    for layer in range(LAYERS):
        cache.store(layer, sequence, first, k[layer : layer + 1], v[layer : layer + 1])


def filled(tokens=T, **shape):
    cache = pages_of(**shape)
    append(cache, cache.create(), K[:, :tokens], V[:, :tokens])
    return cache


def dense(layer, tokens, dtype="float32"):
    cache = rapt.DenseKvCache(capacity=T, kv_heads=2, head_dim=16, dtype=dtype)
    cache.append(K[layer : layer + 1, :tokens], V[layer : layer + 1, :tokens])
    return cache


def same(a, b):
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("page_size", [16, 48, 512, 1536])
def test_pages_give_the_bits_of_a_dense_cache(dtype, page_size):
    cache = filled(page_size=page_size, dtype=dtype)
    problem = rapt.Problem(
        q_tokens=40,
        kv_tokens=T,
        q_heads=4,
        kv_heads=2,
        head_dim=16,
        mask=MASK,
        dtypes=["float32", dtype, dtype, "float32"],
    )
    plan = rapt.make_plan(problem, from_pages=True)
    for layer in range(LAYERS):
        expected = rapt.attention(Q, cache=dense(layer, T, dtype), mask=MASK, return_lse=True)
        given = {"cache": cache.layer(layer), "sequences": [0], "return_lse": True}
        assert same(rapt.attention(Q, mask=MASK, **given), expected)
        assert same(rapt.run(plan, Q, **given), expected)
        parts = [
            rapt.run_partial(plan, Q, begin=c, end=c + 1, cache=cache.layer(layer), sequences=[0])
            for c in range(3)
        ]
        merged = rapt.finish(rapt.merge(rapt.merge(parts[0], parts[1]), parts[2]))
        assert same(merged, expected)
        assert same(cache.read(layer, 0, 700), dense(layer, T, dtype).read(0, 700))


def test_rows_are_those_of_tensors():
    problem = rapt.Problem(q_tokens=40, kv_tokens=T, q_heads=4, kv_heads=2, head_dim=16)
    rows = rapt.attention_rows(
        rapt.make_plan(problem, from_pages=True),
        Q,
        rows=[0, 39],
        cache=filled().layer(1),
        sequences=[0],
    )
    expected = rapt.attention_rows(rapt.make_plan(problem), Q, K[1:], V[1:], rows=[0, 39])
    assert np.array_equal(rows, expected)


def test_sequences_of_a_batch_are_those_named():
    cache = filled(tokens=530)
    other = cache.create()
    append(cache, other, K[:, 600:631], V[:, 600:631])
    q = np.repeat(Q, 3, axis=0)
    o = rapt.attention(q, cache=cache.layer(1), sequences=np.array([other, 0, other]), mask=MASK)
    alone = [
        rapt.attention(Q, K[1:, s], V[1:, s], mask=MASK) for s in (slice(600, 631), slice(530))
    ]
    assert same([o[:1], o[1:2], o[2:]], [alone[0], alone[1], alone[0]])
    two = rapt.DenseKvCache(capacity=40, kv_heads=2, head_dim=16, batch=2)
    two.append(K[:, :40], V[:, :40])
    swapped = rapt.attention(q[:2], cache=two, sequences=[1, 0])
    assert same([swapped[[1, 0]]], [rapt.attention(q[:2], cache=two)])


@pytest.mark.parametrize(("dtype", "error"), [("int8", 0.5 / 127), ("fp8_e4m3", 2.0**-4)])
def test_quantised_tokens_have_a_scale_each(dtype, error):
    cache = filled(dtype=dtype)
    assert cache.page_bytes < pages_of(dtype="bfloat16").page_bytes
    k, v = cache.read(1, 0, T)
    assert k.dtype == v.dtype == np.float32
    for read, given in ((k, K[1:]), (v, V[1:])):
        assert not np.array_equal(read, given)
        assert (abs(read - given) <= error * 1.0001 * abs(given).max(axis=3, keepdims=True)).all()
    o, lse = rapt.attention(Q, cache=cache.layer(1), sequences=[0], mask=MASK, return_lse=True)
    expected = rapt.attention(Q, k, v, mask=MASK, return_lse=True)
    np.testing.assert_allclose(o, expected[0], atol=1e-6)
    np.testing.assert_allclose(lse, expected[1], atol=2e-6)
    assert same(
        [o], [rapt.attention(Q, cache=filled(dtype=dtype, page_size=512).layer(1), mask=MASK)]
    )


LATENT = {"kv_heads": 1, "head_dim": 24, "v_head_dim": 16, "v_in_k": True}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", [1, 40])
def test_values_that_are_in_keys_are_kept_once(dtype, tokens):
    k, q = oracle.random(1, T, 1, 24, seed=4), oracle.random(1, tokens, 4, 24, seed=5)
    dense = rapt.DenseKvCache(capacity=T, dtype=dtype, **LATENT)
    dense.append(k[:, :1000])
    dense.append(k[:, 1000:], sequence=0)
    pages = rapt.PagedKvCache(pages=100, page_size=48, dtype=dtype, **LATENT)
    sequence = pages.create()
    pages.extend(sequence, T)
    pages.store(0, sequence, 0, k)
    apart = rapt.PagedKvCache(
        pages=1, page_size=48, dtype=dtype, kv_heads=1, head_dim=24, v_head_dim=16
    )
    assert pages.page_bytes < apart.page_bytes
    keys, values = dense.read(0, T)
    assert np.array_equal(values, keys[..., :16])
    assert same(pages.read(0, sequence, T), [keys, values])
    expected = rapt.attention(q, keys, values, mask=MASK)
    assert same([rapt.attention(q, cache=dense, mask=MASK)], [expected])
    assert same([rapt.attention(q, cache=pages.layer(0), mask=MASK)], [expected])
    problem = rapt.Problem(
        q_tokens=tokens,
        kv_tokens=T,
        q_heads=4,
        kv_heads=1,
        head_dim=24,
        v_head_dim=16,
        mask=MASK,
        dtypes=["float32", dtype, dtype, "float32"],
    )
    for cache in (dense, pages.layer(0)):
        plan = rapt.make_plan(problem, cache=cache)
        assert same([rapt.run(plan, q, cache=cache)], [expected])


def test_values_are_given_where_they_are_kept():
    k = oracle.random(1, 4, 1, 24)
    latent, plain = (
        rapt.DenseKvCache(capacity=8, **shape) for shape in (LATENT, {**LATENT, "v_in_k": False})
    )
    pages = rapt.PagedKvCache(pages=1, **LATENT)
    pages.extend(pages.create(), 4)
    for refused in (
        lambda: latent.append(k, k[..., :16]),
        lambda: pages.store(0, 0, 0, k, k[..., :16]),
    ):
        with pytest.raises(rapt.Error, match=r"expected k alone.*got k and v"):
            refused()
    with pytest.raises(rapt.Error, match="expected k and v, got k alone"):
        plain.append(k)
    with pytest.raises(rapt.Error, match="v_in_k, got int8"):
        rapt.PagedKvCache(pages=1, dtype="int8", **LATENT)


def test_keys_are_rotated_as_they_are_stored():
    table = rapt.Rotary(16).table(range(T))
    dense, expected = (
        rapt.DenseKvCache(capacity=T, kv_heads=2, head_dim=16, batch=LAYERS) for _ in range(2)
    )
    k = K.copy()
    rapt.append_rotary(table, k, V, dense)
    rotated = rapt.apply_rotary(table, K)
    assert np.array_equal(k, rotated)
    expected.append(rotated, V)
    for sequence in range(LAYERS):
        assert same(dense.read(sequence, T), expected.read(sequence, T))

    pages = pages_of(dtype="bfloat16")
    sequence = pages.create()
    pages.extend(sequence, 300)
    k = K[1:, :300].copy()
    for first, end in ((0, 130), (130, 300)):
        rapt.store_rotary(
            table,
            first + 5,
            k[:, first:end],
            V[1:, first:end],
            pages,
            layer=1,
            sequence=sequence,
            first=first,
        )
    other = pages.create()
    pages.extend(other, 300)
    turned = rapt.Rotary(16).table(range(5, 305))
    pages.store(1, other, 0, rapt.apply_rotary(turned, K[1:, :300]), V[1:, :300])
    assert same(pages.read(1, sequence, 300), pages.read(1, other, 300))


def test_refuses_to_rotate_what_is_not_there():
    table = rapt.Rotary(16).table(range(10))
    cache, pages = rapt.DenseKvCache(capacity=12, kv_heads=2, head_dim=16), pages_of()
    pages.extend(pages.create(), 20)
    k, v = K[:1, :10].copy(), V[:1, :10]
    at = {"layer": 0, "sequence": 0, "first": 0}
    for refused, message in [
        (lambda: rapt.append_rotary(table, k, k, cache), "append_rotary.k: expected memory of its"),
        (lambda: rapt.append_rotary(table, k[:, :9], v[:, :9], cache), "append_rotary"),
        (lambda: rapt.store_rotary(table, 1, k, v, pages, **at), "store_rotary.table"),
        (lambda: rapt.store_rotary(table, 0, k, k, pages, **at), "store_rotary.k: expected memory"),
        (lambda: rapt.store_rotary(table, 0, v.astype(np.float16), v, pages, **at), "store_rotary"),
    ]:
        with pytest.raises(rapt.Error, match=message):
            refused()
    assert cache.length() == 0 and np.array_equal(k, K[:1, :10])


def test_torch_tensors_are_stored_from_where_they_are():
    cache = pages_of(dtype="bfloat16")
    sequence = cache.create()
    k, v = (torch.from_numpy(x).to(torch.bfloat16).transpose(1, 2) for x in (K, V))
    append(cache, sequence, k.contiguous().transpose(1, 2), v.contiguous().transpose(1, 2))
    read = [x.astype(np.float32) for x in cache.read(1, sequence, T)]
    assert same(read, [x[1:].transpose(1, 2).float().contiguous().numpy() for x in (k, v)])


def test_forks_share_pages_until_they_write():
    cache = filled(tokens=100)
    assert cache.pages - cache.free_pages == 3 and cache.allocated_bytes >= 3 * cache.page_bytes
    fork = cache.fork(0, 90)
    assert cache.pages - cache.free_pages == 3 and cache.sequences == 2
    with pytest.raises(rapt.Error, match="store slots"):
        cache.store(0, fork, 89, K[:1, :1], V[:1, :1])
    assert cache.pages_needed(fork, 10) == 2
    append(cache, fork, K[:, 500:510], V[:, 500:510])
    assert cache.pages - cache.free_pages == 5
    k, v = (np.concatenate([x[:, :90], x[:, 500:510]], axis=1) for x in (K, V))
    assert same(cache.read(1, fork, 100), [k[1:], v[1:]])
    assert same(cache.read(1, 0, 100), [K[1:, :100], V[1:, :100]])
    cache.free(0)
    assert not cache.has(0) and cache.has(fork) and cache.pages - cache.free_pages == 3
    cache.truncate(fork, 48)
    assert cache.length(fork) == 48 and cache.pages - cache.free_pages == 1
    assert same(
        [rapt.attention(Q, cache=cache.layer(1), sequences=[fork])],
        [rapt.attention(Q, K[1:, :48], V[1:, :48])],
    )
    cache.free(fork)
    assert cache.free_pages == cache.pages and cache.sequences == 0


def test_a_layer_keeps_its_cache():
    layer = filled(tokens=100).layer(0)
    gc.collect()
    assert same([rapt.attention(Q, cache=layer)], [rapt.attention(Q, K[:1, :100], V[:1, :100])])


def test_refuses_when_pages_run_out():
    cache = filled(tokens=90, pages=2)
    with pytest.raises(rapt.Error, match="at most 0 more pages, got 1") as refused:
        cache.extend(0, 7)
    assert refused.value.code == "out_of_memory" and cache.length(0) == 90
    cache.extend(0, 6)


def test_refuses():
    cache = filled(tokens=60)
    layer = cache.layer(0)
    plan = rapt.make_plan(
        rapt.Problem(q_tokens=40, kv_tokens=60, q_heads=4, kv_heads=2, head_dim=16),
        from_pages=True,
    )
    int8 = ["float32", "int8", "int8", "float32"]
    for refused, got in [
        (lambda: pages_of(page_size=17), "page_size: expected a multiple of 16, got 17"),
        (lambda: pages_of(dtype="fp8"), "int8 or fp8_e4m3, got fp8"),
        (lambda: rapt.DenseKvCache(capacity=1, kv_heads=1, head_dim=1, dtype="int8"), "got int8"),
        (
            lambda: rapt.make_plan(
                rapt.Problem(q_tokens=1, kv_tokens=1, q_heads=1, head_dim=1, dtypes=int8)
            ),
            "as k is a tensor, got int8",
        ),
        (lambda: cache.layer(2), "PagedKvCache.layer"),
        (lambda: cache.length(7), "length.sequence: expected a sequence that lives, got 7"),
        (lambda: cache.read(0, 7, 1), "read.sequence: expected a sequence that lives, got 7"),
        (lambda: cache.read(0, 0, -1), "read.tokens: expected 0 to 60, got -1"),
        (lambda: cache.read(0, 0, 61), "read.tokens: expected 0 to 60, got 61"),
        (lambda: cache.fork(0, 61), "0 to 60, got 61"),
        (lambda: cache.truncate(0, 61), "0 to 60, got 61"),
        (lambda: cache.free(7), "PagedKvCache.free"),
        (lambda: cache.extend(0, -1), "got -1"),
        (lambda: cache.store(0, 0, 59, K[:1, :2], V[:1, :2]), "PagedKvCache.store slots"),
        (lambda: cache.store(0, 0, 0, K[:1, :2], V[:1, :1]), "PagedKvCache.store"),
        (lambda: cache.store(0, 0, 0, [1.0], V), "PagedKvCache.store.k: expected an array"),
        (
            lambda: rapt.attention(Q, cache=cache),
            "a layer of a rapt.PagedKvCache or rapt.BlockTables, got",
        ),
        (lambda: rapt.attention(Q, cache=layer, sequences=[7]), "cache sequence 7"),
        (lambda: rapt.attention(Q, cache=layer, sequences=[0, 0]), "sequences: expected 1,"),
        (lambda: rapt.attention(Q, cache=layer, sequences=[]), "sequences: expected 1,"),
        (lambda: rapt.attention(Q, K[:1], V[:1], sequences=[0]), "attention.sequences"),
        (lambda: rapt.run(plan, Q, cache=layer, sequences=[7]), "sequence 7"),
        (lambda: rapt.run(plan, Q, cache=layer, sequences=[0, 0]), "sequences: expected 1,"),
    ]:
        with pytest.raises(rapt.Error, match="expected") as error:
            refused()
        assert got in str(error.value)
