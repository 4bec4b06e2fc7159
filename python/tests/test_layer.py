import math

import numpy as np
import oracle
import pytest
import torch

import rapt


def test_rotary_turns_pairs():
    x = oracle.random(2, 5, 3, 8)
    positions = [4, 0, 9, 9, 1]
    angles = np.outer(positions, 10000.0 ** (-np.arange(3) / 3))[:, None]
    for style, first, second in [
        ("half", slice(0, 3), slice(3, 6)),
        ("interleaved", slice(0, 6, 2), slice(1, 6, 2)),
    ]:
        table = rapt.Rotary(6, style=style).table(positions)
        np.testing.assert_allclose(table.cos, np.cos(angles[:, 0]), atol=1e-6)
        expected = x.astype(np.float64)
        a, b = x[..., first].astype(np.float64), x[..., second].astype(np.float64)
        expected[..., first] = a * np.cos(angles) - b * np.sin(angles)
        expected[..., second] = b * np.cos(angles) + a * np.sin(angles)
        y = rapt.apply_rotary(table, x)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        again = rapt.RotaryTable(table.cos, table.sin, style=style)
        assert np.array_equal(rapt.apply_rotary(again, x), y)
        in_place = torch.from_numpy(x.copy())
        assert rapt.apply_rotary(table, in_place, out=in_place) is in_place
        assert np.array_equal(in_place.numpy(), y)
        with pytest.raises(rapt.Error, match="a part of x"):
            rapt.apply_rotary(table, x, out=x[::-1])


def test_scalings_change_frequencies():
    plain = rapt.Rotary(8).inv_freq()
    linear = rapt.Rotary(8, scaling=rapt.LinearScaling(factor=4)).inv_freq()
    np.testing.assert_allclose(linear, np.array(plain) / 4, rtol=1e-6)
    dynamic = rapt.Rotary(8, scaling=rapt.DynamicNtkScaling(factor=2, original_context=16))
    assert dynamic.inv_freq(16) == plain and dynamic.inv_freq(64) < plain
    yarn = rapt.Rotary(8, scaling=rapt.YarnScaling(factor=4, original_context=64))
    assert abs(yarn.table([0]).cos[0, 0] - (0.1 * math.log(4) + 1)) < 1e-6
    llama = rapt.Rotary(8, scaling=rapt.Llama3Scaling(factor=8, original_context=64))
    assert llama.inv_freq()[0] == plain[0] and llama.inv_freq()[3] < plain[3]
    scaling = rapt.LongRopeScaling(
        short_factor=[1.0] * 4, long_factor=[2.0] * 4, factor=2, original_context=16
    )
    long = rapt.Rotary(8, scaling=scaling)
    assert np.allclose(long.inv_freq(17), np.array(long.inv_freq(16)) / 2)
    with pytest.raises(rapt.Error, match="half or interleaved, got thirds"):
        rapt.Rotary(8, style="thirds")
    with pytest.raises(rapt.Error, match="a scaling, got str"):
        rapt.Rotary(8, scaling="linear")


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_linear_is_the_product(library):
    w, b = oracle.random(7, 20, seed=1), oracle.random(7, seed=2)
    for shape in [(20,), (3, 20), (2, 3, 20), (2, 2, 3, 20)]:
        x = library(oracle.random(*shape))
        y = rapt.Linear(library(w), library(b))(x)
        assert type(y) is type(x) and y.shape == (*shape[:-1], 7)
        np.testing.assert_allclose(np.asarray(y), np.asarray(x) @ w.T + b, atol=1e-5)
    x = oracle.random(3, 20)
    half = rapt.Linear(torch.from_numpy(w).bfloat16())
    assert np.array_equal(half(x), rapt.Linear(torch.from_numpy(w).bfloat16().float())(x))
    int8 = rapt.Linear(w, type="int8")
    assert int8.size_bytes < rapt.Linear(w).size_bytes and (int8.inputs, int8.outputs) == (20, 7)
    np.testing.assert_allclose(int8(x), x @ w.T, atol=0.3)
    native = rapt.Linear(w, type="native_bfloat16")
    np.testing.assert_allclose(native(x), x @ w.T, atol=0.3)
    assert not np.array_equal(native(x), half(x))
    with pytest.raises(rapt.Error, match="native_bfloat16, got int4"):
        rapt.Linear(w, type="int4")


D, HQ, HKV, WIDTH = 8, 4, 2, 32
WEIGHTS = {
    name: oracle.random(rows, columns, seed=n, scale=0.2)
    for n, (name, rows, columns) in enumerate(
        [("q", HQ * D, WIDTH), ("k", HKV * D, WIDTH), ("v", HKV * D, WIDTH), ("o", WIDTH, HQ * D)]
    )
}


def layer(**options):
    return rapt.MultiHeadAttention(**WEIGHTS, q_heads=HQ, kv_heads=HKV, head_dim=D, **options)


def by_hand(x, memory, rotary=None, mask=None):
    def heads(c, w, count):
        split = (c.reshape(-1, WIDTH) @ w.T).reshape(*c.shape[:2], count, D)
        if rotary is None or w is WEIGHTS["v"]:
            return split
        return rapt.apply_rotary(rotary.table(range(c.shape[1])), split)

    q = heads(x, WEIGHTS["q"], HQ)
    k, v = heads(memory, WEIGHTS["k"], HKV), heads(memory, WEIGHTS["v"], HKV)
    o = rapt.attention(q, k, v, mask=mask)
    return o.reshape(*x.shape[:2], HQ * D) @ WEIGHTS["o"].T


def test_layer_is_its_steps():
    x, memory = oracle.random(2, 6, WIDTH, seed=8), oracle.random(2, 9, WIDTH, seed=9)
    rotary, mask = rapt.Rotary(D), rapt.Mask.causal()
    turned = layer(rotary=rotary, mask=mask)
    y, heads, contributions = turned(x, return_heads=True)
    np.testing.assert_allclose(y, by_hand(x, x, rotary, mask), atol=1e-5)
    assert heads.shape == (2, 6, HQ, D)
    np.testing.assert_allclose(contributions.sum(axis=2), y, atol=1e-5)
    np.testing.assert_allclose(layer()(x, memory=memory), by_hand(x, memory), atol=1e-5)
    one = layer()(torch.from_numpy(x))
    assert isinstance(one, torch.Tensor) and np.array_equal(one.numpy(), layer()(x))


def test_layer_decodes_to_the_bits_of_its_prefill():
    x = oracle.random(2, 6, WIDTH, seed=8)
    turned = layer(rotary=rapt.Rotary(D), mask=rapt.Mask.causal())
    whole = turned(x)
    cache = turned.make_cache(2, 6)
    for t in range(6):
        token = x[:, t : t + 1]
        turned.append(token, cache)
        assert np.array_equal(turned(token, cache=cache), whole[:, t : t + 1])


def test_layer_leaves_padding_out():
    x = oracle.random(1, 6, WIDTH, seed=8)
    padded = x.copy()
    padded[0, 4:] = np.nan
    y = layer()(padded, x_ranges=[(0, 4)])
    assert np.array_equal(y[:, :4], layer()(x[:, :4]))
    with pytest.raises(rapt.Error, match="x_ranges: expected"):
        layer()(x, x_ranges=[(0, 1, 2)])
    with pytest.raises(rapt.Error, match="MultiHeadAttention"):
        layer()(x[..., :5])


NORMS = {
    "rms": lambda x, w, b, **out: rapt.rms_norm(x, w, 1e-5, **out),
    "layer": lambda x, w, b, **out: rapt.layer_norm(x, w, b, 1e-5, **out),
    "layer without bias": lambda x, w, b, **out: rapt.layer_norm(x, w, None, 1e-5, **out),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_norms_are_their_formulas(name, library):
    norm, w, b = NORMS[name], oracle.random(20, seed=1), oracle.random(20, seed=2)
    for shape in [(20,), (3, 20), (2, 3, 20), (2, 2, 3, 20)]:
        x = oracle.random(*shape) + np.float32(3)
        wide = x.astype(np.float64)
        if name != "rms":
            wide = wide - wide.mean(axis=-1, keepdims=True)
        expected = wide * w / np.sqrt((wide**2).mean(axis=-1, keepdims=True) + 1e-5)
        expected = expected + (b if name == "layer" else 0)
        y = norm(library(x), library(w), library(b))
        assert type(y) is type(library(x)) and y.shape == shape
        np.testing.assert_allclose(np.asarray(y), expected, atol=2e-6)
        in_place = library(x.copy())
        assert norm(in_place, w, b, out=in_place) is in_place
        assert np.array_equal(np.asarray(in_place), np.asarray(y))


@pytest.mark.parametrize("name", NORMS)
def test_norms_refuse(name):
    norm, x, w = NORMS[name], oracle.random(4, 20), oracle.random(20)
    both, deep = oracle.random(5, 20), np.zeros((1, 1, 1, 1, 20), np.float32)
    function = "rms_norm" if name == "rms" else "layer_norm"
    for where, refused in [
        ("x", lambda: norm(x.astype(np.float64), w, w)),
        ("x", lambda: norm(np.float32(1), w, w)),
        ("weight", lambda: norm(x, w[:19], w)),
        ("out", lambda: norm(x, w, w, out=x[::-1])),
        ("out", lambda: norm(x, w, w, out=oracle.random(20))),
        ("out", lambda: norm(x, w, w, out=oracle.random(3, 20))),
        ("out", lambda: norm(x, both[3], w, out=both[:4])),
        ("x", lambda: norm(deep, w, w, out=deep)),
    ]:
        with pytest.raises(rapt.Error, match=rf"{function}.{where}: expected"):
            refused()


def test_learned_positions_are_added_in_place():
    table, x = oracle.random(8, 20, seed=1), oracle.random(2, 3, 20)
    for positions, rows in [
        ([7, 0, 0], [[7, 0, 0]] * 2),
        ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]),
    ]:
        y = x.copy()
        assert rapt.add_positions(table, positions, y) is None
        assert np.array_equal(y, x + table[np.array(rows)])
        tensor = torch.from_numpy(x.copy())
        rapt.add_positions(torch.from_numpy(table), np.array(positions), tensor)
        assert np.array_equal(tensor.numpy(), y)
    for refused, words in [
        (lambda: rapt.add_positions(table, [8, 0, 0], x), "positions: expected 0 to 7, got 8"),
        (lambda: rapt.add_positions(table, [0], x), "positions: expected 6 or 3"),
        (lambda: rapt.add_positions(table[:, :19], [0] * 3, x), "table: expected"),
        (lambda: rapt.add_positions(x[0], [0] * 3, x), "memory of the table"),
        (lambda: rapt.add_positions(table, [0] * 3, np.broadcast_to(x, x.shape)), "written"),
    ]:
        with pytest.raises(rapt.Error, match=f"add_positions.*{words}"):
            refused()
