"""What the heads of a model of transformers attend to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import Module

import rapt
from rapt.transformers.calls import intercepted

__all__ = ["observe"]

_OF_TOKENS = {"duplicate_token", "induction"}
_BY_TOKEN = {*_OF_TOKENS, "token_class", "link"}


@torch.no_grad()
def observe(
    model: Module,
    *,
    metrics: Sequence[str] = ("entropy",),
    distances: bool = False,
    sink_tokens: int = 1,
    window: int = 128,
    token_class: Any = None,
    links: Any = None,
    keep_rows: bool = False,
    **inputs: Any,
) -> dict[str, rapt.HeadStatistics]:
    """Statistics of every attention module of a model with attn_implementation="rapt", by its name,
    on one forward pass.

        heads = rapt.transformers.observe(model, metrics=["entropy", "induction"], input_ids=ids)
        heads["model.layers.0.self_attn"].mean("entropy")  # of each query head

    No attention matrix is ever whole in memory: texts may be as long as the model's forward can
    take them. The queries and keys are read where the model has them. Options are those of
    rapt.observe; its tokens are input_ids. An encoder-decoder's modules have keys of either text,
    so metrics of tokens, classes and links are refused for it; so is a model that calls a module
    twice.

    inputs   of model.forward: input_ids and, where there is padding, attention_mask
    """
    names = {id(module): name for name, module in model.named_modules()}
    tokens = inputs.get("input_ids")
    of_tokens = [metric for metric in metrics if metric in _BY_TOKEN]
    if of_tokens and getattr(model.config, "is_encoder_decoder", False):
        raise rapt.Error(
            "observe.metrics: expected none of tokens for an encoder-decoder, got "
            + ", ".join(of_tokens)
        )
    attention = rapt.attention
    seen: dict[str, rapt.HeadStatistics] = {}
    current: list[str] = []

    def instead(function: Any, module: Module, *arguments: Any, **options: Any) -> Any:
        current.append(names[id(module)])
        try:
            return function(module, *arguments, **options)
        finally:
            current.pop()

    def observed(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Any:
        needs_tokens = not _OF_TOKENS.isdisjoint(metrics)
        if current and current[-1] in seen:
            raise rapt.Error(f"observe.model: expected one call a module, got two of {current[-1]}")
        if current:
            seen[current[-1]] = rapt.observe(
                q,
                k,
                metrics=list(metrics),
                distances=distances,
                sink_tokens=sink_tokens,
                window=window,
                tokens=None if tokens is None or not needs_tokens else tokens.tolist(),
                token_class=token_class,
                links=links,
                keep_rows=keep_rows,
                **options,
            )
        return attention(q, k, v, **options)

    with intercepted(instead), mock.patch.object(rapt, "attention", observed):
        model(**{"use_cache": False, **inputs})
    if not seen:
        raise rapt.Error(
            'observe.model: expected one with attn_implementation="rapt", got no call of rapt'
        )
    return seen
