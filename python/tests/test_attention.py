import ml_dtypes
import numpy as np
import oracle
import pytest
import torch

import rapt

TOLERANCE = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}


def tensors(batch=2, q_tokens=5, kv_tokens=7, q_heads=4, kv_heads=2, d=8, dv=6):
    return (
        oracle.random(batch, q_tokens, q_heads, d, seed=1),
        oracle.random(batch, kv_tokens, kv_heads, d, seed=2),
        oracle.random(batch, kv_tokens, kv_heads, dv, seed=3),
    )


def as_numpy(x):
    return x.float().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, np.float32)


def same_bits(a, b):
    return a.shape == b.shape and as_numpy(a).tobytes() == as_numpy(b).tobytes()


def to_library(library, dtype, *arrays):
    if library == "torch":
        return tuple(torch.from_numpy(x).to(getattr(torch, dtype)) for x in arrays)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return tuple(x.astype(kind) for x in arrays)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_is_the_formula_in_every_type(library, dtype):
    q, k, v = to_library(library, dtype, *tensors())
    o, lse = rapt.attention(q, k, v, mask=rapt.Mask.causal(), return_lse=True)
    assert type(o) is type(q) and type(lse) is type(q) and o.dtype == q.dtype
    assert str(lse.dtype).endswith("float32") and lse.shape == (2, 4, 5)
    visible = oracle.visible_by(lambda i, j: j <= i, 5, 7)
    expected, expected_lse = oracle.attention(as_numpy(q), as_numpy(k), as_numpy(v), visible)
    np.testing.assert_allclose(as_numpy(o), expected, atol=TOLERANCE[dtype])
    np.testing.assert_allclose(as_numpy(lse), expected_lse, atol=2e-6)


def test_types_may_differ():
    q, k, v = tensors()
    rounded = [torch.from_numpy(q).half(), torch.from_numpy(k).bfloat16(), torch.from_numpy(v)]
    o = rapt.attention(*rounded)
    assert o.dtype == torch.float16
    widened = rapt.attention(*[x.float() for x in rounded])
    assert torch.equal(o, widened.half())


LAYOUTS = {
    "heads first": lambda x: np.ascontiguousarray(x.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
    "features first": lambda x: np.ascontiguousarray(x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0),
    "backwards": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
    "every second": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_show(layout):
    arrays = tensors()
    moved = [LAYOUTS[layout](x) for x in arrays]
    assert same_bits(rapt.attention(*moved), rapt.attention(*arrays))
    if layout not in ("backwards", "read-only"):
        # Strides of torch are those of the array it is made from.
        torched = [torch.from_numpy(x) for x in moved]
        assert same_bits(rapt.attention(*torched), rapt.attention(*arrays))


def test_axes_that_are_broadcast():
    q, k, v = tensors()
    k, v = (np.broadcast_to(x[:1, :, :1], (2, 7, 4, x.shape[3])) for x in (k, v))
    assert k.strides[0] == 0
    expected = rapt.attention(q, k.copy(), v.copy())
    assert same_bits(rapt.attention(q, k, v), expected)
    expanded = [torch.from_numpy(x[:1, :, :1].copy()).expand(2, 7, 4, -1) for x in (k, v)]
    assert same_bits(rapt.attention(torch.from_numpy(q), *expanded), expected)


def test_other_libraries_speak_dlpack():
    class Other:
        def __init__(self, x):
            self.x = x

        def __dlpack__(self, **kwargs):
            return self.x.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.x.__dlpack_device__()

    arrays = tensors()
    o = rapt.attention(*map(Other, arrays))
    assert isinstance(o, np.ndarray) and same_bits(o, rapt.attention(*arrays))
    views = [memoryview(x) for x in arrays]
    assert same_bits(rapt.attention(*views), rapt.attention(*arrays))


def test_tensors_of_libraries_without_gradients():
    """As tvm_ffi's, which speak torch's way of DLPack and know no requires_grad."""

    class Other(torch.Tensor):
        @property
        def requires_grad(self):
            raise AttributeError

    arrays = tensors()
    o = rapt.attention(*[torch.from_numpy(x).as_subclass(Other) for x in arrays])
    assert isinstance(o, torch.Tensor) and same_bits(o, rapt.attention(*arrays))


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_out_is_written_where_it_is(library):
    q, k, v = to_library(library, "float32", *tensors())
    expected = rapt.attention(q, k, v)
    room = oracle.random(2, 10, 4, 6)
    room = torch.from_numpy(room) if library == "torch" else room
    out = room[:, ::2]
    assert rapt.attention(q, k, v, out=out) is out
    assert same_bits(out, expected)
    (half,) = to_library(library, "float16", oracle.random(2, 5, 4, 6))
    rapt.attention(q, k, v, out=half)
    (rounded,) = to_library(library, "float16", as_numpy(expected))
    assert same_bits(half, rounded)


def test_modifiers_are_their_formulas():
    q, k, v = tensors(q_heads=4)
    slopes, sinks = rapt.alibi_slopes(4), [0.5, -1.0, -np.inf, 2.0]
    bias = oracle.random(1, 4, 5, 7, seed=4)
    bias[0, :, :, 3] = -np.inf
    distance = np.abs(np.arange(5)[:, None] + 2 - np.arange(7)[None])

    def change(s):
        s = 3 * np.tanh(s / 3) - np.reshape(slopes, (1, 4, 1, 1)) * distance
        return s + bias

    o, lse = rapt.attention(
        q, k, v, scale=0.7, softcap=3, alibi=slopes, bias=bias, sinks=sinks, return_lse=True
    )
    expected, expected_lse = oracle.attention(q, k, v, scale=0.7, change=change, sinks=sinks)
    np.testing.assert_allclose(o, expected, atol=3e-6)
    np.testing.assert_allclose(lse, expected_lse, atol=3e-6)


def test_relative_bias_is_by_bucket():
    q, k, v = tensors()
    table = oracle.random(8, 4, seed=5)
    relative = rapt.RelativeBias(table.ravel(), buckets=8, max_distance=6, bidirectional=True)
    buckets = np.array([[relative.bucket(j - i - 2) for j in range(7)] for i in range(5)])
    o = rapt.attention(q, k, v, relative_bias=relative)
    expected, _ = oracle.attention(q, k, v, change=lambda s: s + table[buckets].transpose(2, 0, 1))
    np.testing.assert_allclose(o, expected, atol=3e-6)
    assert same_bits(rapt.attention(q, k, v, relative_bias=relative), o)


def test_padding_reaches_nothing():
    q, k, v = tensors()
    ranges = [(1, 7), (0, 4)]
    q_ranges = np.array([[0, 5], [1, 3]])
    poisoned = [x.copy() for x in (k, v)]
    for x in poisoned:
        x[0, :1] = np.nan
        x[1, 4:] = np.inf
    options = dict(mask=rapt.Mask.causal(), q_ranges=q_ranges, kv_ranges=ranges, return_lse=True)
    o, lse = rapt.attention(q, *poisoned, **options)
    for b, (begin, end) in enumerate(ranges):
        i, i_end = q_ranges[b]
        alone = rapt.attention(
            q[b : b + 1, i:i_end],
            k[b : b + 1, begin:end],
            v[b : b + 1, begin:end],
            mask=rapt.Mask.causal(),
        )
        assert same_bits(o[b : b + 1, i:i_end], alone)
    assert not o[1, :1].any() and not o[1, 3:].any() and (lse[1, :, 3:] == -np.inf).all()


POSITIONS = [3, 1, 4, 1, 5]


@pytest.mark.parametrize(
    "positions",
    [
        POSITIONS,
        np.array(POSITIONS),
        [np.int64(x) for x in POSITIONS],
        [POSITIONS, POSITIONS],
        (tuple(POSITIONS), np.array(POSITIONS)),
        np.array([POSITIONS] * 2),
        torch.tensor([POSITIONS] * 2),
    ],
)
def test_positions_move_the_mask(positions):
    q, k, v = tensors()
    o = rapt.attention(
        q, k, v, mask=rapt.Mask.causal(), q_positions=positions, kv_positions=range(7)
    )
    visible = np.arange(7)[None] <= np.array([3, 1, 4, 1, 5])[:, None]
    np.testing.assert_allclose(o, oracle.attention(q, k, v, visible)[0], atol=2e-6)


def test_empty_rows_and_extents():
    q, k, v = tensors()
    o, lse = rapt.attention(q, k[:, :0], v[:, :0], return_lse=True)
    assert not o.any() and (lse == -np.inf).all()
    assert rapt.attention(q[:, :0], k, v).shape == (2, 0, 4, 6)
    assert rapt.attention(q[:0], k[:0], v[:0]).shape == (0, 5, 4, 6)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    moved = raw[1:].view(np.float32).reshape(x.shape)
    moved[...] = x
    return moved


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def bias_as_out(q):
    bias = np.zeros((2, 4, 5, 7), "f")
    return {"bias": bias, "out": bias.reshape(-1)[:240].reshape(2, 5, 4, 6)}


REFUSED = {
    "a type": (lambda q: {"q": q.astype(np.float64)}, "attention.q", "float64 [2, 5, 4, 8]"),
    "byte order": (lambda q: {"q": q.astype(">f4")}, "attention.q", ">f4"),
    "integers": (lambda q: {"k": q.astype(np.int32)}, "attention.k", "int32"),
    "axes": (lambda q: {"v": q[0]}, "attention.v", "float32 [5, 4, 8]"),
    "no array": (lambda q: {"q": q.tolist()}, "attention.q", "list"),
    "alignment": (lambda q: {"q": unaligned(q)}, "attention.q", "unaligned"),
    "strides": (lambda q: {"q": records(q)}, "attention.q", "bytes"),
    "gradients": (lambda q: {"q": torch.zeros(2, 5, 4, 8).requires_grad_()}, "attention.q", "grad"),
    "devices": (lambda q: {"q": torch.zeros(2, 5, 4, 8, device="meta")}, "attention.q", "meta"),
    "sparse": (lambda q: {"q": torch.zeros(2, 5, 4, 8).to_sparse()}, "attention.q", "dense"),
    "a mask": (lambda q: {"mask": np.ones((5, 7), bool)}, "attention.mask", "ndarray"),
    "read-only out": (
        lambda q: {"out": frozen(np.zeros((2, 5, 4, 6), "f"))},
        "attention.out",
        "read-only",
    ),
    "out of one element": (
        lambda q: {"out": torch.zeros(1, 1, 1, 1).expand(2, 5, 4, 6)},
        "attention.out",
        "stride of 0",
    ),
    "out of another shape": (lambda q: {"out": np.zeros((2, 5, 4, 8), "f")}, "o", "[2, 5, 4, 8]"),
    "out in q": (lambda q: {"out": q[..., :6]}, "attention.out", "memory of q"),
    "out in bias": (bias_as_out, "attention.out", "bias"),
    "nothing for elements": (lambda q: {"q": np.zeros((1,) * 4, [])}, "attention.q", "a byte"),
    "another relative bias": (lambda q: {"relative_bias": 3}, "attention.relative_bias", "int"),
    "bias": (lambda q: {"bias": np.zeros((5, 7), "f")}, "attention.bias", "[5, 7]"),
    "sinks": (lambda q: {"sinks": [1.0]}, "sinks", "got 1"),
    "words": (lambda q: {"sinks": ["a"]}, "attention.sinks", "'a'"),
    "ranges": (lambda q: {"kv_ranges": [(0, 1, 2)] * 2}, "attention.kv_ranges", "3 numbers"),
    "positions": (lambda q: {"q_positions": [0.5] * 5}, "attention.q_positions", "0.5"),
    "ragged positions": (
        lambda q: {"q_positions": [[1, 2, 3], [1, 2]], "mask": rapt.Mask.causal()},
        "attention.q_positions",
        "2 numbers",
    ),
    "fractions": (lambda q: {"q_positions": np.zeros(5)}, "attention.q_positions", "float64"),
    "heads": (lambda q: {"q": q[:, :, :3].copy()}, "q_heads", "got 3"),
    "softcap": (lambda q: {"softcap": -1.0}, "softcap", "-1"),
}


def records(x):
    fields = np.zeros(x.shape, np.dtype([("x", np.float32), ("y", np.int16)]))
    fields["x"] = x
    return fields["x"]


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    q, k, v = tensors()
    change, where, got = REFUSED[name]
    arguments = {"q": q, "k": k, "v": v, **change(q)}
    with pytest.raises(rapt.Error) as refused:
        rapt.attention(**arguments)
    assert isinstance(refused.value, ValueError) and refused.value.code.startswith("bad_")
    sentence = str(refused.value)
    assert where in sentence and "expected" in sentence and got in sentence


def test_nothing_is_copied():
    """Keys of 1 GiB that lie in 32 bytes are read where they are."""
    q = oracle.random(1, 1, 1, 8)
    k = np.lib.stride_tricks.as_strided(oracle.random(1, 1, 1, 8), (1, 1 << 25, 1, 8), (0, 0, 0, 4))
    before = peak_bytes()
    rapt.attention(q, k, k)
    assert peak_bytes() - before < 64 << 20


def peak_bytes():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
