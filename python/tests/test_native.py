"""Native bf16: its bound against f64, one set of bits however it is run, what it refuses."""

import pathlib

import numpy as np
import oracle
import pytest
import torch

import rapt

T, HEADS, KV_HEADS, D = 1100, 4, 2, 23
MASK = rapt.Mask.causal()
NATIVE = {"mask": MASK, "arithmetic": "native_bfloat16", "return_lse": True}
MODEL = pathlib.Path(__file__).parents[2] / "models" / "default"


def bf16(*shape, seed):
    return torch.from_numpy(oracle.random(*shape, seed=seed)).bfloat16()


Q = bf16(2, 40, HEADS, D, seed=1)
K, V = (bf16(2, T, KV_HEADS, D, seed=s) for s in (2, 3))


@pytest.fixture(scope="module")
def whole():
    return rapt.attention(Q, K, V, **NATIVE)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b))


def loop_in_f32(q, k, v, visible):
    """(o, lse) of the two-pass loop, its sums one term after the other."""
    k, v = (np.repeat(x, HEADS // KV_HEADS, axis=2) for x in (k, v))
    s = np.zeros((q.shape[0], HEADS, q.shape[1], k.shape[1]), np.float32)
    for e in range(D):
        s += q[..., e].transpose(0, 2, 1)[..., None] * k[..., e].transpose(0, 2, 1)[:, :, None]
    s = np.where(visible, s * np.float32(D**-0.5), np.float32(-np.inf))
    top = s.max(axis=3, keepdims=True)
    p = np.exp(s - top)
    total, acc = np.zeros_like(top), np.zeros((*s.shape[:3], D), np.float32)
    for j in range(k.shape[1]):
        total += p[..., j, None]
        acc += p[..., j, None] * v[:, j, :, None]
    return (acc / total).transpose(0, 2, 1, 3), (top + np.log(total))[..., 0]


def test_is_within_the_bound_and_another_order():
    tensors = [x.float().numpy() for x in (Q, K, V)]
    visible = oracle.visible_by(lambda i, j: j <= i, 40, T)
    expected = oracle.attention(*tensors, visible)
    loop = loop_in_f32(*tensors, visible)
    o = np.empty((2, 40, HEADS, D), np.float32)
    _, lse = rapt.attention(Q, K, V, out=o, **NATIVE)
    largest = (np.abs(tensors[2]).max(), max(1, np.abs(expected[1]).max()))
    for got, want, plain, scale, rounding in zip(
        (o, lse.numpy()), expected, loop, largest, (1.004 * 2**-7 * largest[0], 1.002 * 2**-8)
    ):
        of_f32 = 2 * np.abs(plain - want).max() + 2**-23 * scale
        assert of_f32 < np.abs(got - want).max() <= of_f32 + rounding


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_bits_do_not_depend_on_threads_batch_cut_or_cache(whole, threads):
    before = rapt.get_threads()
    rapt.set_threads(threads)
    assert same(rapt.attention(Q, K, V, **NATIVE), whole)
    alone = rapt.attention(Q[1:], K[1:], V[1:], **NATIVE)
    assert same(alone, [x[1:] for x in whole])
    last = rapt.attention(Q[:, 39:], K, V, **NATIVE)
    assert same(last, (whole[0][:, 39:], whole[1][:, :, 39:]))
    cache = rapt.DenseKvCache(capacity=T, kv_heads=2, head_dim=D, batch=2, dtype="bfloat16")
    cache.append(K, V)
    assert same(rapt.attention(Q, cache=cache, **NATIVE), whole)
    rapt.set_threads(before)


def test_plans_states_and_lengths_that_vary(whole):
    problem = rapt.Problem(
        batch=2,
        q_tokens=40,
        kv_tokens=T,
        q_heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=D,
        dtypes=["bfloat16"] * 4,
        mask=MASK,
        arithmetic="native_bfloat16",
    )
    plan = rapt.make_plan(problem)
    assert plan.explain("arithmetic").startswith("native bf16")
    assert same(rapt.run(plan, Q, K, V, return_lse=True), whole)
    parts = [rapt.run_partial(plan, Q, K, V, begin=c, end=c + 1) for c in range(3)]
    merged = rapt.merge(rapt.merge(parts[0], parts[1]), parts[2])
    assert same(rapt.finish(merged), whole)
    rows = [x.flatten(0, 1) for x in (Q, K, V)]
    o, lse = rapt.attention_varlen(*rows, [0, 40, 80], [0, T, 2 * T], **NATIVE)
    assert torch.equal(o, whole[0].flatten(0, 1))
    assert torch.equal(lse, whole[1].transpose(0, 1).flatten(1))


def test_layers_and_models():
    weights = {name: oracle.random(32, 32, seed=n, scale=0.2) for n, name in enumerate("qkvo")}
    x = oracle.random(1, 9, 32)
    made = [
        rapt.MultiHeadAttention(**weights, q_heads=4, mask=MASK, arithmetic=arithmetic)
        for arithmetic in ("float32", "native_bfloat16")
    ]
    y, native = (layer(x) for layer in made)
    np.testing.assert_allclose(native, y, atol=0.1)
    assert not np.array_equal(native, y)
    cache = made[1].make_cache(1, 9, "bfloat16")
    made[1].append(x, cache)
    assert np.array_equal(made[1](x, cache=cache), native)
    model = rapt.Model.load(MODEL, cache="bfloat16", attention="native_bfloat16")
    tokens = [1, 5, 7, 11, 13]
    logits = rapt.Session(model, 5).prefill(tokens, all=True)
    session = rapt.Session(model, 5)
    assert all(np.array_equal(session.prefill([t]), row) for t, row in zip(tokens, logits))
    other = rapt.Session(rapt.Model.load(MODEL, cache="bfloat16"), 5).prefill(tokens, all=True)
    assert not np.array_equal(logits, other)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_refuses_other_types(place, dtype):
    tensors = [Q, K, V]
    tensors[place] = tensors[place].to(dtype)
    with pytest.raises(rapt.Error, match=rf"storage\.{'qkv'[place]}: expected bf16, .* got f"):
        rapt.attention(*tensors, **NATIVE)


def test_refuses():
    cache = rapt.DenseKvCache(capacity=T, kv_heads=2, head_dim=D, batch=2)
    for refused, words in [
        (
            lambda: rapt.attention(Q, K, V, arithmetic="bf16"),
            "float32 or native_bfloat16, got bf16",
        ),
        (lambda: rapt.attention(Q, cache=cache, **NATIVE), "storage.k: expected bf16"),
        (lambda: rapt.Model.load(MODEL, attention="native_bfloat16"), "cache: expected bfloat16"),
    ]:
        with pytest.raises(rapt.Error, match=words) as error:
            refused()
        assert error.value.code == "bad_argument"
