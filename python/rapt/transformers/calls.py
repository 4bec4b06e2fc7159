"""Calls of attention that models of transformers make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from transformers import AttentionInterface

__all__ = ["intercepted"]


@contextmanager
def intercepted(instead: Callable[..., Any]) -> Iterator[None]:
    """Calls `instead(function, module, query, key, value, mask, **options)` for every
    `function(module, query, key, value, mask, **options)` that models ask of the interface
    meanwhile."""
    name = "get_interface" if hasattr(AttentionInterface, "get_interface") else "__getitem__"
    original: Any = getattr(AttentionInterface, name)  # the second one before transformers 5

    def getter(self: AttentionInterface, *asked: Any) -> Any:
        function = original(self, *asked)

        def call(*arguments: Any, **options: Any) -> Any:
            return instead(function, *arguments, **options)

        return call

    with mock.patch.object(AttentionInterface, name, getter):
        yield
