"""rapt.torch against torch's own scaled_dot_product_attention."""

import math
import threading

import pytest
import torch
from torch.nn import functional

import rapt
import rapt.torch

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 5e-3}
SHAPES = {  # B, Hq, H, Tq, Tk, D, Dv
    "square": (2, 4, 4, 17, 17, 32, 32),
    "few queries": (2, 4, 4, 5, 67, 32, 16),
    "few keys": (1, 2, 2, 67, 5, 8, 8),
    "decode": (3, 8, 8, 1, 131, 64, 64),
    "grouped": (2, 8, 2, 33, 49, 16, 16),
    "multi-query": (2, 6, 1, 9, 21, 24, 24),
    "odd": (1, 3, 3, 50, 515, 7, 3),
}
MASKS = {
    "none": lambda b, h, i, j: None,
    "rows": lambda b, h, i, j: sparse_bits(i, j),
    "keys": lambda b, h, i, j: sparse_bits(1, j),
    "batch": lambda b, h, i, j: sparse_bits(b, 1, i, j),
    "heads": lambda b, h, i, j: sparse_bits(h, i, j),
    "all": lambda b, h, i, j: sparse_bits(b, h, i, j),
    "float": lambda b, h, i, j: torch.randn(b, h, i, j),
    "float rows": lambda b, h, i, j: torch.randn(i, j),
    "float hides": lambda b, h, i, j: torch.zeros(i, j).masked_fill(~sparse_bits(i, j), -torch.inf),
}


@pytest.fixture(autouse=True)
def inference():
    torch.manual_seed(8)
    with torch.no_grad():
        yield


def sparse_bits(*shape):
    """A mask that shows the first key and half of the others."""
    bits = torch.rand(shape) < 0.5
    bits[..., 0] = True
    return bits


def tensors(name, dtype=torch.float32):
    b, hq, h, tq, tk, d, dv = SHAPES[name]
    made = torch.randn(b, hq, tq, d), torch.randn(b, h, tk, d), torch.randn(b, h, tk, dv)
    return [x.to(dtype) for x in made]


def expected(q, k, v, attn_mask=None, **options):
    """torch's result of the same numbers in f64."""
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.double()
    return functional.scaled_dot_product_attention(
        q.double(), k.double(), v.double(), attn_mask, enable_gqa=True, **options
    )


def check(q, k, v, attn_mask=None, **options):
    got = rapt.torch.scaled_dot_product_attention(q, k, v, attn_mask, enable_gqa=True, **options)
    want = expected(q, k, v, attn_mask, **options)
    assert got.shape == want.shape and got.dtype == q.dtype
    torch.testing.assert_close(got.double(), want, rtol=0, atol=TOLERANCE[q.dtype])


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_masks(shape, mask, dtype):
    b, hq, _, tq, tk, _, _ = SHAPES[shape]
    attn_mask = MASKS[mask](b, hq, tq, tk)
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(dtype)
    check(*tensors(shape, dtype), attn_mask)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_causal_is_top_left(shape, dtype):
    check(*tensors(shape, dtype), is_causal=True)
    check(*tensors(shape, dtype), is_causal=True, scale=0.3)


def test_bottom_right_would_be_another_result():
    q, k, v = tensors("few queries")
    top_left = rapt.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
    views = [x.transpose(1, 2) for x in (q, k, v)]
    bottom_right = rapt.attention(*views, mask=rapt.Mask.causal())
    assert (top_left.transpose(1, 2) - torch.as_tensor(bottom_right)).abs().max() > 0.1


LAYOUTS = {
    "heads last": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "features first": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "sliced": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "every second token": lambda x: x.repeat_interleave(2, 2)[:, :, ::2],
    "broadcast heads": lambda x: x[:, :1].expand_as(x),
    "broadcast batch": lambda x: x[:1].expand_as(x),
    "unaligned": lambda x: torch.cat([torch.zeros(1), x.flatten()])[1:].view(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_have_the_same_bits(layout):
    q, k, v = (LAYOUTS[layout](x) for x in tensors("square"))
    got = rapt.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
    plain = (x.clone(memory_format=torch.contiguous_format) for x in (q, k, v))
    assert torch.equal(got, rapt.torch.scaled_dot_product_attention(*plain, is_causal=True))
    check(q, k, v, is_causal=True)


@pytest.mark.parametrize(
    "q, k",
    [
        ((5, 8), (7, 8)),
        ((4, 5, 8), (4, 7, 8)),
        ((3, 2, 4, 5, 8), (3, 2, 4, 7, 8)),
        ((1, 4, 5, 8), (2, 4, 7, 8)),
        ((2, 4, 5, 8), (2, 1, 7, 8)),
        ((2, 1, 5, 8), (2, 4, 7, 8)),
        ((4, 5, 8), (2, 4, 7, 8)),
        ((2, 4, 5, 8), (2, 4, 0, 8)),
        ((0, 4, 5, 8), (0, 4, 7, 8)),
        ((2, 4, 0, 8), (2, 4, 7, 8)),
    ],
)
def test_dimensions_broadcast_as_in_torch(q, k):
    q, k, v = torch.randn(q), torch.randn(k), torch.randn(k)
    got = rapt.torch.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(
        got, functional.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    "mask", [(5, 7), (4, 5, 7), (2, 1, 5, 7), (3, 1, 1, 5, 7), (3, 2, 4, 5, 7)]
)
def test_masks_of_five_dimensions(mask):
    q, k, v = torch.randn(3, 2, 4, 5, 8), torch.randn(3, 2, 4, 7, 8), torch.randn(3, 2, 4, 7, 8)
    check(q, k, v, sparse_bits(*mask))


def test_row_that_sees_nothing_is_zero_as_in_torch():
    q, k, v = tensors("square")
    bits = sparse_bits(17, 17)
    bits[3] = False
    check(q, k, v, bits)
    got = rapt.torch.scaled_dot_product_attention(q, k, v, bits)
    assert (got[:, :, 3] == 0).all()


def test_hidden_nan_stays_hidden_unlike_in_torch():
    q, k, v = tensors("square")
    clean = rapt.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
    k[:, :, 9], v[:, :, 9] = torch.nan, torch.inf
    poisoned = rapt.torch.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.equal(poisoned[:, :, :9], clean[:, :, :9])
    assert poisoned[:, :, 9:].isnan().all()
    assert functional.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, :9].isnan().any()


def test_visible_nan_stays_visible():
    q, k, v = tensors("square")
    v[0, 0, 0, 0] = torch.nan
    got = rapt.torch.scaled_dot_product_attention(q, k, v)
    assert got[0, 0, :, 0].isnan().all() and not got[0, 1:].isnan().any()


def call(*args, **kwargs):
    return rapt.torch.scaled_dot_product_attention(*args, **kwargs)


def operator(q, k, v):
    return torch.ops.rapt.attention(q, k, v, None, None, None, False, None, None)


@pytest.mark.parametrize(
    "word, attempt",
    [
        ("dropout", lambda q, k, v: call(q, k, v, dropout_p=0.1)),
        ("gradients", lambda q, k, v: call(q.requires_grad_(), k, v)),
        ("gradients", lambda q, k, v: operator(q, k, v.requires_grad_())),
        ("dtype", lambda q, k, v: call(q.double(), k.double(), v.double())),
        ("dtype", lambda q, k, v: call(q, k, v.bfloat16())),
        ("is_causal", lambda q, k, v: call(q, k, v, sparse_bits(17, 17), is_causal=True)),
        ("attn_mask", lambda q, k, v: call(q, k, v, torch.ones(17, 17, dtype=torch.uint8))),
        ("attn_mask", lambda q, k, v: call(q, k, v, torch.ones(17, dtype=torch.bool))),
    ],
)
def test_what_is_not_served_is_an_error_that_says_so(word, attempt):
    with torch.enable_grad(), pytest.raises(rapt.Error, match=word):
        attempt(*tensors("square"))


def test_without_grad_mode_tensors_may_require_gradients():
    q, k, v = tensors("square")
    check(q.requires_grad_(), k, v)


@pytest.mark.parametrize(
    "attempt", [lambda x: call(x, x[..., :3], x), lambda x: call(x, x, x[:, :1, :2])]
)
def test_shapes_that_do_not_fit_are_errors(attempt):
    with pytest.raises((rapt.Error, RuntimeError)):
        attempt(torch.randn(1, 2, 4, 8))


def test_compiled_function_is_one_graph():
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def function(q, k, v, bits):
        o = rapt.torch.scaled_dot_product_attention(q * 2, k, v, bits, enable_gqa=True)
        return o.transpose(1, 2).flatten(2) + 1

    args = (*tensors("grouped"), sparse_bits(33, 49))
    want = function(*args)
    torch.compiler.reset()
    assert torch.equal(torch.compile(function, backend=keep, fullgraph=True)(*args), want)
    assert len(graphs) == 1
    assert [str(n.target) for n in graphs[0].graph.nodes].count("rapt.attention") == 1
    torch.compiler.reset()
    got = torch.compile(function, fullgraph=True)(*args)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_compiled_function_of_any_length():
    function = torch.compile(
        rapt.torch.scaled_dot_product_attention, fullgraph=True, dynamic=True, backend="aot_eager"
    )
    for length in (4, 9, 30):
        x = torch.randn(2, 4, length, 16)
        assert torch.equal(function(x, x, x), rapt.torch.scaled_dot_product_attention(x, x, x))


def test_operator_is_what_its_schema_and_fake_say():
    q, k, v = (x.transpose(1, 2) for x in tensors("grouped"))
    bias, sinks = torch.randn(1, 8, 33, 49), torch.randn(8)
    for options in (
        (None, None, None, False, None, None),
        (sparse_bits(1, 1, 33, 49), bias, sinks, True, 0.5, 20.0),
    ):
        torch.library.opcheck(
            torch.ops.rapt.attention.default,
            (q, k, v, *options),
            test_utils=("test_schema", "test_faketensor"),
        )


def test_context_routes_torchs_function(monkeypatch):
    q, k, v = tensors("square")
    seen = count_calls(monkeypatch)
    with rapt.torch.sdpa_via_rapt():
        inside = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        functional.scaled_dot_product_attention(query=q, key=k, value=v)
    assert len(seen) == 2
    outside = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert len(seen) == 2
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5)


def test_context_routes_modules(monkeypatch):
    layer = torch.nn.TransformerEncoderLayer(16, 2, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(2, 5, 16)
    seen = count_calls(monkeypatch)
    with rapt.torch.sdpa_via_rapt():
        inside = model(x)
    assert len(seen) == 2
    torch.testing.assert_close(inside, model(x), rtol=0, atol=1e-5)


def test_context_is_an_error_where_rapt_does_not_serve():
    q, k, v = tensors("square")
    with rapt.torch.sdpa_via_rapt(), pytest.raises(rapt.Error, match="dropout"):
        functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5)


def test_context_leaves_other_devices_to_torch(monkeypatch):
    monkeypatch.delattr(rapt.torch, "scaled_dot_product_attention")
    x = torch.randn(1, 2, 3, 4, device="meta")
    with rapt.torch.sdpa_via_rapt():
        assert functional.scaled_dot_product_attention(x, x, x).device.type == "meta"


def test_context_holds_for_its_thread(monkeypatch):
    q, k, v = tensors("square")
    seen = count_calls(monkeypatch)
    with rapt.torch.sdpa_via_rapt():
        other = threading.Thread(target=lambda: functional.scaled_dot_product_attention(q, k, v))
        other.start()
        other.join()
    assert not seen


def test_context_under_compile(monkeypatch):
    q, k, v = tensors("square")
    seen = count_calls(monkeypatch)
    function = torch.compile(
        lambda *x: functional.scaled_dot_product_attention(*x), fullgraph=True, backend="aot_eager"
    )
    with rapt.torch.sdpa_via_rapt():
        function(q, k, v)
    assert len(seen) == 1


def test_sinks_softcap_and_bias_together():
    q, k, v = tensors("grouped")
    bias, sinks = torch.randn(1, 8, 33, 49), torch.randn(8)
    views = [x.transpose(1, 2) for x in (q, k, v)]
    got = rapt.torch.attention(*views, bias=bias, sinks=sinks, softcap=3.0)
    keys, values = (x.repeat_interleave(4, 1).double() for x in (k, v))
    scores = 3.0 * torch.tanh(q.double() @ keys.mT / math.sqrt(16) / 3.0) + bias
    scores = torch.cat([scores, sinks.view(1, 8, 1, 1).expand(2, 8, 33, 1)], -1)
    want = torch.softmax(scores, -1)[..., :-1] @ values
    torch.testing.assert_close(got.transpose(1, 2).double(), want, rtol=0, atol=1e-5)


def count_calls(monkeypatch):
    """A list that grows with every call of rapt.attention."""
    seen, attend = [], rapt.attention

    def counted(*args, **kwargs):
        seen.append(kwargs)
        return attend(*args, **kwargs)

    monkeypatch.setattr(rapt, "attention", counted)
    return seen
