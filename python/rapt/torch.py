"""rapt in torch: scaled_dot_product_attention of CPU tensors, without a copy.

`scaled_dot_product_attention` takes torch's arguments and means the same by them. `sdpa_via_rapt`
is a context in which torch's own function goes through it. Both run the operator
`torch.ops.rapt.attention`, of which torch.compile keeps one node.

What rapt does not serve is a `rapt.Error` that says so, never a fallback to torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import rapt

__all__ = ["attention", "scaled_dot_product_attention", "sdpa_via_rapt"]

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_new_library: Any = torch.library.Library
_library = _new_library("rapt", "DEF")
_library.define(
    "attention(Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? bias, Tensor? sinks,"
    " bool causal, float? scale, float? softcap) -> Tensor"
)


def _attention_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    sinks: Tensor | None,
    causal: bool,
    scale: float | None,
    softcap: float | None,
) -> Tensor:
    visible = None if mask is None else rapt.Mask.dense(mask)
    if causal:
        top_left = rapt.Mask.causal_top_left()
        visible = top_left if visible is None else top_left & visible
    return run(q, k, v, bias, sinks, mask=visible, scale=scale, softcap=softcap)


def run(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, sinks: Tensor | None, **options: Any
) -> Tensor:
    """rapt.attention of tensors that may have asked for gradients outside of grad mode."""
    tensors = (q, k, v, bias, sinks)
    refuse_unserved([x for x in tensors if x is not None])
    q, k, v, bias, sinks = (  # type: ignore[assignment]
        x.detach() if x is not None and x.requires_grad else x for x in tensors
    )
    out: Tensor = rapt.attention(q, k, v, bias=bias, sinks=sinks, **options)
    return out


def _fake(q: Tensor, k: Tensor, v: Tensor, *options: Any) -> Tensor:
    return q.new_empty((q.shape[0], q.shape[1], q.shape[2], v.shape[3]))


_library.impl("attention", _attention_cpu, "CPU")
torch.library.register_fake("rapt::attention", _fake, lib=_library)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    sinks: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The operator `torch.ops.rapt.attention`, of which torch.compile keeps one node.

    q [B, Tq, Hq, D], k [B, Tk, Hkv, D] and v [B, Tk, Hkv, Dv], f32, bf16 or f16 of any strides,
    give o [B, Tq, Hq, Dv] of q's type. Query head h reads key head h / (Hq / Hkv).

    mask    bool, true where a key is visible; [B, Hq, Tq, Tk], extents of 1 are broadcast
    bias    f32, added to the scores; the same shapes
    sinks   [Hq], f32 logits that take part in the softmax and have no value
    causal  query i sees keys 0 .. i (top-left, as in torch)

    Raises rapt.Error for tensors that need gradients, are not on the CPU or of another type.
    """
    refuse_unserved([x for x in (q, k, v, bias, sinks) if x is not None])
    out: Tensor = torch.ops.rapt.attention(q, k, v, mask, bias, sinks, causal, scale, softcap)
    return out


def refuse_unserved(tensors: Iterable[Tensor], dropout: float = 0.0) -> None:
    """Raises rapt.Error if attention over `tensors` is not what rapt serves."""
    if dropout > 0:
        raise rapt.Error(f"dropout: expected 0 (rapt has none), got {dropout}")
    grad_mode = torch.is_grad_enabled()
    for tensor in tensors:
        if grad_mode and tensor.requires_grad:
            raise rapt.Error(
                "gradients: expected tensors without requires_grad, or torch.no_grad(); rapt"
                " computes no gradients yet"
            )
        if not (tensor.is_cpu or tensor.is_meta):
            raise rapt.Error(f"device: expected cpu, got {tensor.device}")
        if tensor.dtype not in _DTYPES:
            raise rapt.Error(f"dtype: expected float32, bfloat16 or float16, got {tensor.dtype}")


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch's function of that name, by rapt.

    query [..., Hq, L, E], key [..., H, S, E] and value [..., H, S, Ev], f32, bf16 or f16 on the
    CPU, give [..., Hq, L, Ev]. Leading dimensions are broadcast, heads too; with enable_gqa Hq is a
    multiple of H. attn_mask broadcasts to [..., Hq, L, S]: bool (true is visible) or float (added
    to the scores). is_causal aligns top-left. q, k and v are not copied unless their
    leading dimensions do not fold into one; a bool mask becomes bits, a float mask f32.

    A row that sees nothing is 0, as in torch. Unlike torch, NaN in a hidden key or value stays
    there.

    Raises rapt.Error for dropout_p > 0, tensors that need gradients, other types and devices.
    """
    refuse_unserved((query, key, value), dropout_p)
    _check_types(query, key, value, attn_mask, is_causal)
    batch, q, k, v = _fold(query, key, value, enable_gqa)
    mask, bias = _fold_mask(attn_mask, batch)
    if bias is not None:
        refuse_unserved((bias,))
    out: Tensor = torch.ops.rapt.attention(q, k, v, mask, bias, None, is_causal, scale, None)
    out = out.transpose(1, 2)
    if len(batch) == 1:
        return out
    return out.reshape(*batch, *out.shape[1:]) if _has_heads(query, key, value) else out[0, 0]


def _check_types(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool
) -> None:
    if not query.dtype == key.dtype == value.dtype:
        got = f"{query.dtype}, {key.dtype} and {value.dtype}"
        raise rapt.Error(f"query, key, value: expected one dtype, got {got}")
    if attn_mask is None:
        return
    if type(attn_mask) not in (Tensor, torch.nn.Parameter):
        raise rapt.Error(f"attn_mask: expected a plain tensor, got {type(attn_mask).__name__}")
    if is_causal:
        raise rapt.Error("attn_mask: expected None with is_causal")
    if attn_mask.dtype not in (torch.bool, torch.float32, query.dtype):
        expected = f"bool, float32 or {query.dtype}"
        raise rapt.Error(f"attn_mask: expected {expected}, got {attn_mask.dtype}")


def _has_heads(*tensors: Tensor) -> bool:
    return max(x.dim() for x in tensors) > 2


def _fold(
    query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool
) -> tuple[Sequence[int], Tensor, Tensor, Tensor]:
    """The leading dimensions, and the three as [B, T, H, E]."""
    same = query.shape[0] == key.shape[0] and key.shape[:2] == value.shape[:2]
    if same and query.dim() == key.dim() == 4 and (enable_gqa or query.shape[1] == key.shape[1]):
        return query.shape[:1], query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if min(x.dim() for x in (query, key, value)) < 2:
        raise rapt.Error("query, key, value: expected two dimensions or more")
    batch = _broadcast(*(x.shape[:-3] for x in (query, key, value)))
    q_heads, k_heads, v_heads = (_heads(x) for x in (query, key, value))
    if enable_gqa:
        kv_heads = k_heads
    else:
        kv_heads = _broadcast((k_heads,), (v_heads,))[0]
        q_heads = _broadcast((q_heads,), (kv_heads,))[0]
    k, v = (_fold_one(x, batch, kv_heads) for x in (key, value))
    return batch, _fold_one(query, batch, q_heads), k, v


def _broadcast(*shapes: Sequence[int]) -> torch.Size:
    try:
        shape: torch.Size = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise rapt.Error(f"query, key, value: expected shapes that broadcast, {error}") from error
    return shape


def _heads(x: Tensor) -> int:
    return x.shape[-3] if x.dim() > 2 else 1


def _fold_one(x: Tensor, batch: torch.Size, heads: int) -> Tensor:
    x = x if x.dim() > 2 else x[None]
    x = x.expand(*batch, heads, *x.shape[-2:])
    if len(batch) != 1:
        x = x.reshape(-1 if x.numel() else batch.numel(), *x.shape[-3:])
    return x.transpose(1, 2)


def _fold_mask(
    attn_mask: Tensor | None, batch: Sequence[int]
) -> tuple[Tensor | None, Tensor | None]:
    """attn_mask as a mask and a bias of four dimensions."""
    if attn_mask is None:
        return None, None
    if attn_mask.dim() < 2:
        raise rapt.Error(f"attn_mask: expected two dimensions or more, got {attn_mask.dim()}")
    mask = attn_mask[(None,) * max(0, 4 - attn_mask.dim())]
    if mask.dim() > 4 or len(batch) != 1:
        leading = mask.shape[:-3]
        if leading.numel() != 1:
            mask = mask.expand(*batch, *mask.shape[-3:])
        mask = mask.reshape(-1 if mask.numel() else leading.numel(), *mask.shape[-3:])
    return (mask, None) if mask.dtype == torch.bool else (None, mask.float())


def _routed(*args: Any, **kwargs: Any) -> Tensor:
    query = args[0] if args else kwargs["query"]
    route = scaled_dot_product_attention if query.device.type == "cpu" else _sdpa
    out: Tensor = route(*args, **kwargs)
    return out


_sdpa = torch.nn.functional.scaled_dot_product_attention
_multi_head = torch.nn.functional.multi_head_attention_forward
# Function modes do not see calls that other torch functions make: here is that function once more,
# calling _routed.
_routed_multi_head = FunctionType(
    _multi_head.__code__,
    {**_multi_head.__globals__, "scaled_dot_product_attention": _routed},
    argdefs=_multi_head.__defaults__,
)


def sdpa_via_rapt() -> AbstractContextManager[Any]:
    """A context in which torch's scaled_dot_product_attention of CPU tensors is rapt's.

        with torch.no_grad(), rapt.torch.sdpa_via_rapt():
            model(x)

    It holds for the thread that enters it, and for torch.nn.MultiheadAttention too, unless that is
    asked for its weights. Tensors on other devices go to torch; on the CPU, what rapt does not
    serve raises rapt.Error.
    """
    return _Route()


class _Route(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        routes: dict[Any, Callable[..., Any]] = {_sdpa: _routed, _multi_head: _routed_multi_head}
        route = routes.get(func, func)
        return route(*args, **(kwargs or {}))
