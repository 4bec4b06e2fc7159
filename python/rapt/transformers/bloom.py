"""BLOOM, whose attention does not ask transformers for a function: here it does."""

from __future__ import annotations

from functools import wraps
from typing import Any

from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bloom import modeling_bloom

from rapt.transformers.mask import StructuredMask

__all__ = ["serve_bloom"]


def serve_bloom() -> None:
    """Lets BLOOM's attention call rapt's where its mask is rapt's, and be told so by name."""
    attention: Any = modeling_bloom.BloomAttention
    if hasattr(ALL_ATTENTION_FUNCTIONS, "get_interface") and not hasattr(
        attention.forward, "__wrapped__"
    ):
        attention.forward = _forward_of(attention.forward)
        model: Any = modeling_bloom.BloomPreTrainedModel
        model._can_set_attn_implementation_cached_value = True


def _forward_of(original: Any) -> Any:
    @wraps(original)
    def forward(
        self: Any,
        hidden_states: Tensor,
        residual: Tensor,
        alibi: Tensor,
        attention_mask: Tensor | None,
        layer_past: Any = None,
        **kwargs: Any,
    ) -> Any:
        if not isinstance(attention_mask, StructuredMask):
            return original(
                self, hidden_states, residual, alibi, attention_mask, layer_past, **kwargs
            )
        query, key, value = self._reshape(self.query_key_value(hidden_states))
        if layer_past is not None:
            key, value = layer_past.update(key, value, self.layer_idx)
        out, _ = ALL_ATTENTION_FUNCTIONS.get_interface("rapt", original)(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.inv_norm_factor,
            # By the key alone: what a whole row shares, a softmax does not see.
            position_bias=alibi.view(query.shape[0], self.num_heads, 1, -1),
            dropout=self.attention_dropout.p if self.training else 0.0,
            output_attentions=kwargs.get("output_attentions"),
        )
        out = self.dense(out.flatten(2))
        dropped: Any = modeling_bloom.dropout_add
        return dropped(out, residual, self.hidden_dropout, self.training), None

    return forward
