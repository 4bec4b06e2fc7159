"""rapt in transformers: `register()`, then attn_implementation="rapt".

    import rapt.transformers
    rapt.transformers.register()
    model = AutoModelForCausalLM.from_pretrained(MODEL, attn_implementation="rapt")

Masks arrive as structure (causal, windows, chunks, padding on either side, packed documents,
blocks, caches of any kind), not as a tensor of queries x keys; what has no structure here arrives
as such a tensor, exactly. Inference only: rapt computes no gradients and no dropout yet.

A row that sees nothing, as of a query that is padding, gives 0, where eager attention gives a mean.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function
from transformers.masking_utils import sdpa_mask as _sdpa_mask

import rapt
from rapt.torch import attention, refuse_unserved, run
from rapt.transformers.audit import LayerAudit, LogitsFinding, ModelAudit, audit
from rapt.transformers.bloom import serve_bloom
from rapt.transformers.mask import StructuredMask
from rapt.transformers.observe import observe
from rapt.transformers.structure import Extent, MaskFunction, structure_of

__all__ = [
    "LayerAudit",
    "LogitsFinding",
    "ModelAudit",
    "StructuredMask",
    "attention_forward",
    "audit",
    "mask",
    "observe",
    "register",
]

sdpa_mask: Any = _sdpa_mask

# Arguments that change what a model's attention means and that are not served.
_REFUSED = ("block_indices", "cross_attn_head_mask", "head_mask", "indices", "sinks")


def register() -> None:
    """Puts rapt's attention and mask functions under the name "rapt" into transformers."""
    AttentionInterface.register("rapt", attention_forward)
    AttentionMaskInterface.register("rapt", mask)
    serve_bloom()


def mask(
    *,
    batch_size: int,
    kv_length: int,
    kv_offset: int = 0,
    mask_function: MaskFunction = causal_mask_function,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """transformers' mask function of "rapt": a `StructuredMask`.

    While a graph is traced, a float tensor, 0 where a key is visible and -inf where it is hidden.
    """
    options = {
        "batch_size": batch_size,
        "kv_length": kv_length,
        "kv_offset": kv_offset,
        "mask_function": mask_function,
        "attention_mask": attention_mask,
        **kwargs,
        "allow_is_causal_skip": False,
        "allow_is_bidirectional_skip": False,
    }
    if torch.compiler.is_compiling():
        hidden = ~sdpa_mask(**options)
        return torch.zeros((), device=hidden.device).masked_fill(hidden, -torch.inf)
    if "cache_position" in kwargs:  # before transformers 5
        queries, q_offset = len(kwargs["cache_position"]), int(kwargs["cache_position"][0])
    else:
        queries, q_offset = kwargs["q_length"], int(kwargs.get("q_offset", 0))
    extent = Extent(batch_size, queries, kv_length, q_offset, kv_offset)
    structure = structure_of(mask_function, extent, attention_mask)
    if structure is None:
        return StructuredMask.dense(sdpa_mask(**options))
    return StructuredMask.structured(structure, (batch_size, 1, queries, kv_length))


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function of "rapt".

    query [B, Hq, Tq, D], key [B, Hkv, Tk, D] and value [B, Hkv, Tk, Dv] give [B, Tq, Hq, Dv].

    softcap        scores are softcap tanh(score / softcap)
    s_aux          sinks [Hq]
    position_bias  [B, Hq, Tq, Tk], added to the scores; extents of 1 are broadcast

    Raises rapt.Error for dropout, gradients, attention weights and arguments that are not served.
    """
    _refuse_arguments(kwargs, output_attentions)
    q, k, v = (x.transpose(1, 2) for x in (query, key, value))
    q = q.expand(k.shape[0], -1, -1, -1) if q.shape[0] != k.shape[0] else q
    sinks = None if s_aux is None else s_aux.float()
    bias = None if position_bias is None else position_bias.float()
    if isinstance(attention_mask, StructuredMask):
        refuse_unserved([x for x in (q, k, v, bias, sinks) if x is not None], dropout)
        pairs, expected = tuple(attention_mask.shape[2:]), (q.shape[1], k.shape[1])
        if pairs != expected:
            raise rapt.Error(f"attention_mask: expected one of {expected} tokens, got {pairs}")
        options = {"mask": attention_mask.mask, "kv_ranges": attention_mask.kv_ranges}
        return run(q, k, v, bias, sinks, scale=scaling, softcap=softcap, **options), None
    refuse_unserved((), dropout)
    causal = False
    if attention_mask is None:
        if kwargs.get("cu_seq_lens_q") is not None:
            raise rapt.Error("cu_seq_lens_q: expected None, continuous batching is not served")
        declared = getattr(module, "is_causal", True) if is_causal is None else is_causal
        causal = q.shape[1] > 1 and bool(declared)
    elif attention_mask.dtype == torch.bool:
        return attention(q, k, v, attention_mask, bias, sinks, False, scaling, softcap), None
    elif not attention_mask.is_floating_point():
        raise rapt.Error(f"attention_mask: expected bool or floats, got {attention_mask.dtype}")
    else:
        added = attention_mask.float()
        bias = added if bias is None else bias + added
    return attention(q, k, v, None, bias, sinks, causal, scaling, softcap), None


def _refuse_arguments(kwargs: dict[str, Any], output_attentions: bool | None) -> None:
    for name in _REFUSED:
        if kwargs.get(name) is not None:
            raise rapt.Error(f"{name}: expected None, attention of this kind is not served")
    if output_attentions:
        raise rapt.Error("output_attentions: expected False, attention weights never exist")
