"""The audit of a whole model of transformers: do its masks hide?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Optional
from unittest import mock

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface

import rapt

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
    seen, and what hidden keys and values hold, NaN too, changes no bit. Then the whole model: later
    tokens, padding and the other sequences become others, and no logits that must not see them
    change a bit.

    visible  (module, queries, keys) -> bool [B, Hq, queries, keys], extents of 1 broadcast: what
             that module may see. By default what it declares, causal or not and its sliding_window,
             and attention_mask.
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
    declared = visible or _Declared(model, calls, inputs)
    layers = [LayerAudit(names[id(c.module)], _audit_call(c, declared, queries)) for c in calls]
    return ModelAudit(layers, list(_audit_logits(model, inputs)))


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


@contextmanager
def _recording(calls: list[_Call]) -> Iterator[None]:
    """Keeps every call of attention that models make meanwhile."""
    get_interface = AttentionInterface.get_interface

    def recorder(self: AttentionInterface, name: str, default: Callable[..., Any]) -> Any:
        function = get_interface(self, name, default)

        def recorded(
            module: Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
        ) -> Any:
            q, k, v = query.clone(), key.clone(), value.clone()
            calls.append(_Call(function, module, q, k, v, mask, options))
            return function(module, query, key, value, mask, **options)

        return recorded

    with mock.patch.object(AttentionInterface, "get_interface", recorder):
        yield


def _audit_call(call: _Call, visible: Visible, queries: int) -> rapt.AuditReport:
    q, k, v = (x.float().transpose(1, 2) for x in (call.query, call.key, call.value))
    bits = visible(call.module, q.shape[1], k.shape[1])
    if bits is None:
        bits = torch.ones(1, 1, q.shape[1], k.shape[1], dtype=torch.bool)
    tolerance = 1.0 if call.options.get("s_aux") is not None else 2.0**-7
    return rapt.audit(
        call, bits.contiguous(), q, k, v, queries=queries, row_sum_tolerance=tolerance
    )


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
        distance = torch.arange(queries)[:, None] - torch.arange(keys) + keys - queries
        bits = (distance >= 0) if causal else torch.ones(queries, keys, dtype=torch.bool)
        window = self.windows[id(module)]
        if window is not None:
            bits = bits & (distance < window)
        padding = self.decoder_padding if causal else self.padding
        bits = bits[None, None]
        return bits if padding is None else bits & padding.bool()[:, None, None]


def _audit_logits(model: Module, inputs: dict[str, Any]) -> Iterator[LogitsFinding]:
    name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"  # type: ignore[union-attr]
    tokens = inputs[name]
    sequences, length = tokens.shape
    before = model(**inputs).logits
    others = (tokens + 1) % int(before.shape[-1])
    padding = inputs.get("attention_mask") if name == "input_ids" else None
    there = torch.ones_like(tokens).bool() if padding is None else padding.bool()

    def first_change(changed: Tensor, unmoved: Tensor) -> tuple[int, int] | None:
        after = model(**{**inputs, name: torch.where(changed, others, tokens)}).logits
        moved = ((after != before).any(-1) & unmoved).nonzero()
        return (int(moved[0, 0]), int(moved[0, 1])) if len(moved) else None

    index = torch.arange(length).expand(sequences, -1)
    for cut in sorted({1, length // 2, length - 1} - {0}):
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
