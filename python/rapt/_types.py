"""What arguments may be, for type checkers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Union


class DLPack(Protocol):
    """A tensor on the CPU: torch's, or any other that speaks DLPack."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


# numpy's arrays speak DLPack too.
Array = DLPack
Ints = Union[Array, Sequence[int]]
IntLists = Union[Array, Sequence[Sequence[int]]]
Floats = Union[Array, Sequence[float]]
