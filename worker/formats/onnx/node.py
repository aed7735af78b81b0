"""One op of an ONNX file, with attributes that are what they say they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.errors import MalformedModel, UnsupportedModel

__all__ = ["AttributeValue", "Node"]

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | npt.NDArray[Any]

_REQUIRED: Any = object()


@dataclass(frozen=True)
class Node:
    """`inputs` keeps the empty names of omitted optional inputs; `opset` is the version of the standard domain."""

    index: int
    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    attributes: Mapping[str, AttributeValue]

    @property
    def label(self) -> str:
        """How messages call this node."""
        return f"{self.op_type} node {self.name!r}" if self.name else f"{self.op_type} node #{self.index}"

    def integer(self, name: str, default: int = _REQUIRED) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._mistyped(name, "an integer")
        return value

    def real(self, name: str, default: float = _REQUIRED) -> float:
        value = self._get(name, default)
        if not isinstance(value, float):
            raise self._mistyped(name, "a float")
        return value

    def text(self, name: str, default: str = _REQUIRED) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._mistyped(name, "a string")
        return value

    def integers(self, name: str, default: Sequence[int] | None = _REQUIRED) -> list[int] | None:
        """A list of integers, or `default` where the attribute is absent."""
        value = self._get(name, default)
        if name not in self.attributes:
            return None if default is None else list(default)
        if not isinstance(value, tuple) or not all(type(item) is int for item in value):
            raise self._mistyped(name, "a list of integers")
        return list(value)

    def refuse(self, why: str) -> UnsupportedModel:
        """The error for a use of the op that has no equivalent here; to be raised by the caller."""
        return UnsupportedModel(f"{self.label}: {why}")

    def broken(self, why: str) -> MalformedModel:
        """The error for a node that breaks the rules of ONNX; to be raised by the caller."""
        return MalformedModel(f"{self.label}: {why}")

    def _get(self, name: str, default: Any) -> Any:
        if name in self.attributes:
            return self.attributes[name]
        if default is _REQUIRED:
            raise self.broken(f"the attribute {name!r} is missing")
        return default

    def _mistyped(self, name: str, expected: str) -> MalformedModel:
        found = self.attributes.get(name)
        shown = f"an array of shape {found.shape}" if isinstance(found, np.ndarray) else repr(found)[:80]
        return self.broken(f"the attribute {name!r} must be {expected} and is {shown}")
