"""The audit of a whole model of transformers: do its masks hide?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Module

import rapt
from rapt.transformers.calls import intercepted

__all__ = ["LayerAudit", "LogitsFinding", "ModelAudit", "audit"]

Visible = Callable[[Module, int, int], Optional[Tensor]]


@dataclass(frozen=True)
class LayerAudit:
    """One call of attention, audited on the q, k and v that the inputs give there."""

    module: str  # its name in the model
    report: rapt.AuditReport


@dataclass(frozen=True)
class LogitsFinding:
    """Logits that changed although the tokens that changed are hidden from them.

    check  "suffix": tokens from `key` on; "padding": tokens of padding; "batch": other sequences
    """

    check: str
    sequence: int
    query: int  # the first token whose logits changed
    key: int = -1


@dataclass(frozen=True)
class ModelAudit:
    """What `audit` has found."""

    layers: list[LayerAudit] = field(default_factory=list)
    logits: list[LogitsFinding] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.logits and all(layer.report.passed for layer in self.layers)


@torch.no_grad()
def audit(
    model: Module, *, visible: Visible | None = None, queries: int = 16, **inputs: Any
) -> ModelAudit:
    """Audits a model, whatever its attention implementation, on one forward pass.

        report = rapt.transformers.audit(model, input_ids=tokens, attention_mask=there)
        assert report.passed, report

    Each call of attention goes through rapt.audit: hidden keys weigh nothing, visible ones are
    seen, and what hidden keys and values hold, NaN too, changes no bit. Then the whole model:
    tokens that nothing before them sees, padding and the other sequences become others, and no
    logits that must not see them change a bit. Models without logits are held to their
    last_hidden_state.

    visible  (module, queries, keys) -> bool [B, Hq, queries, keys], extents of 1 broadcast, None
             for all: what that module may see. By default what it declares, causal or not, its
             sliding_window (keys nearer than that, on both sides if it is not causal) and the
             chunks of its layer, and attention_mask.
    queries  rows to audit of each call; a pass shows nothing of the others
    inputs   of model.forward: input_ids and, where there is padding, attention_mask

    Where there are sinks, weights need not sum to one. Experts that share a product between tokens
    may move logits by a rounding, which the audit reports: it asks for bits.

    @cost  some 4 (queries + B Hkv) calls of attention for each layer, 5 forward passes.
    """
    inputs = {"use_cache": False, **inputs}
    names = {id(module): name for name, module in model.named_modules()}
    calls: list[_Call] = []
    with _recording(calls):
        model(**inputs)
    if not calls:
        raise rapt.Error(
            "audit.model: expected attention that transformers' interface is asked for"
        )
    rule = visible or _Declared(model, calls, inputs)
    visibles = [_visible_to(call, rule) for call in calls]
    layers = [
        LayerAudit(names[id(c.module)], _audit_call(c, bits, queries))
        for c, bits in zip(calls, visibles)
    ]
    return ModelAudit(layers, list(_audit_logits(model, inputs, visibles)))


@dataclass(frozen=True)
class _Call:
    function: Callable[..., Any]
    module: Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Any
    options: dict[str, Any]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same attention of other tensors, [B, T, H, D]."""
        q, k, v = (x.to(self.query.dtype).transpose(1, 2) for x in (q, k, v))
        out: Tensor = self.function(self.module, q, k, v, self.mask, **self.options)[0]
        return out.float()


def _recording(calls: list[_Call]) -> AbstractContextManager[None]:
    """Keeps every call of attention that models make meanwhile."""

    def recorded(
        function: Callable[..., Any],
        module: Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Any,
        **options: Any,
    ) -> Any:
        q, k, v = query.clone(), key.clone(), value.clone()
        calls.append(_Call(function, module, q, k, v, mask, options))
        return function(module, query, key, value, mask, **options)

    return intercepted(recorded)


def _audit_call(call: _Call, visible: Tensor, queries: int) -> rapt.AuditReport:
    q, k, v = (x.float().transpose(1, 2) for x in (call.query, call.key, call.value))
    tolerance = 1.0 if call.options.get("s_aux") is not None else 2.0**-7
    return rapt.audit(
        call, visible.contiguous(), q, k, v, queries=queries, row_sum_tolerance=tolerance
    )


def _visible_to(call: _Call, rule: Visible) -> Tensor:
    queries, keys = call.query.shape[2], call.key.shape[2]
    bits = rule(call.module, queries, keys)
    return torch.ones(1, 1, queries, keys, dtype=torch.bool) if bits is None else bits


class _Declared:
    """What modules say of themselves, and the padding that the inputs say."""

    def __init__(self, model: Module, calls: list[_Call], inputs: dict[str, Any]) -> None:
        self.windows = {id(c.module): c.options.get("sliding_window") for c in calls}
        self.padding = inputs.get("attention_mask")
        self.decoder_padding = self.padding
        if model.config.is_encoder_decoder:  # type: ignore[union-attr]
            self.decoder_padding = inputs.get("decoder_attention_mask")

    def __call__(self, module: Module, queries: int, keys: int) -> Tensor:
        causal = bool(getattr(module, "is_causal", True))
        padding = self.decoder_padding if causal else self.padding
        distance = torch.arange(queries)[:, None] - torch.arange(keys) + keys - queries
        bits = (distance >= 0) if causal else torch.ones(queries, keys, dtype=torch.bool)
        window = self.windows[id(module)]
        if window is not None:
            bits = bits & (distance.abs() < window)
        bits = bits[None, None]
        chunk = _chunk_of(module)
        if chunk is not None:
            bits = bits & _same_chunk(chunk, queries, keys, padding)
        return bits if padding is None else bits & padding.bool()[:, None, None]


def _chunk_of(module: Module) -> int | None:
    """Tokens of a chunk, where the module's layer is one that sees its own chunk alone."""
    config: Any = getattr(module, "config", None)
    kinds = getattr(config, "layer_types", None)
    index: Any = getattr(module, "layer_idx", None)
    if kinds is None or index is None or kinds[index] != "chunked_attention":
        return None
    return int(config.attention_chunk_size)


def _same_chunk(chunk: int, queries: int, keys: int, padding: Tensor | None) -> Tensor:
    """Whether query and key are of one chunk, counted from the first token that is no padding."""
    begins = torch.zeros(1, 1) if padding is None else (padding.cumsum(-1) == 0).sum(-1)[:, None]
    chunks = (torch.arange(keys) - begins).div(chunk, rounding_mode="floor")
    return (chunks[:, keys - queries :, None] == chunks[:, None])[:, None]


def _rows_of(output: Any) -> Tensor:
    """Logits of every token, or the hidden state that they would be made from."""
    rows: Tensor | None = getattr(output, "logits", None)
    if rows is None:
        rows = getattr(output, "last_hidden_state", None)
    if rows is None or rows.dim() != 3:
        got = type(output).__name__ if rows is None else list(rows.shape)
        raise rapt.Error(f"audit.model: expected logits or hidden states of tokens, got {got}")
    return rows


def _cuts(length: int, visibles: list[Tensor]) -> list[int]:
    """Some places in a text that no query before sees across."""
    seen = torch.zeros(length, length, dtype=torch.bool)
    for bits in visibles:
        if all(extent in (1, length) for extent in bits.shape[2:]):
            seen |= bits.flatten(0, 1).any(0)
    cuts = sorted({1, length // 2, length - 1} - {0})
    return [cut for cut in cuts if not seen[:cut, cut:].any()]


def _audit_logits(
    model: Module, inputs: dict[str, Any], visibles: list[Tensor]
) -> Iterator[LogitsFinding]:
    decodes: bool = model.config.is_encoder_decoder  # type: ignore[union-attr, assignment]
    name = "decoder_input_ids" if decodes else "input_ids"
    tokens = inputs[name]
    sequences, length = tokens.shape
    before = _rows_of(model(**inputs))
    if before.shape[:2] != tokens.shape:
        raise rapt.Error(
            f"audit.model: expected logits of each of {length} tokens, got {list(before.shape)}"
        )
    others = (tokens + 1) % model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    padding = None if decodes else inputs.get("attention_mask")
    there = torch.ones_like(tokens).bool() if padding is None else padding.bool()

    def first_change(changed: Tensor, unmoved: Tensor) -> tuple[int, int] | None:
        after = _rows_of(model(**{**inputs, name: torch.where(changed, others, tokens)}))
        moved = ((after != before).any(-1) & unmoved).nonzero()
        return (int(moved[0, 0]), int(moved[0, 1])) if len(moved) else None

    index = torch.arange(length).expand(sequences, -1)
    for cut in _cuts(length, [] if decodes else visibles):
        if place := first_change(index >= cut, (index < cut) & there):
            yield LogitsFinding("suffix", *place, cut)
            break
    if not there.all() and (place := first_change(~there, there)):
        yield LogitsFinding("padding", *place)
    row = torch.arange(sequences)[:, None].expand(-1, length)
    for changed in (row > 0, row == 0):
        if sequences > 1 and (place := first_change(changed, ~changed & there)):
            yield LogitsFinding("batch", *place)
            break
