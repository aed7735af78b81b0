"""Arguments of a node, brought into the order of the op's schema and checked against its types."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from worker.errors import MalformedModel
from worker.graph.arguments import in_schema_order

__all__ = ["ordered_arguments"]


def _is_int(value: Any) -> bool:
    return isinstance(value, fx.Node) or (isinstance(value, int) and not isinstance(value, bool))


def _is_number(value: Any) -> bool:
    return isinstance(value, fx.Node | int | float)


def _is_list(item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(item(entry) for entry in value)


def _is_value(value: Any) -> bool:
    return isinstance(value, fx.Node)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "Tensor": _is_number,  # a number stands for a tensor of no dimensions
    "int": _is_int,
    "bool": _is_bool,
    "float": _is_number,
    "number": _is_number,
    "str": _is_str,
    "ScalarType": lambda value: isinstance(value, torch.dtype),
    "MemoryFormat": lambda value: isinstance(value, torch.memory_format),
    "List[int]": _is_list(_is_int),
    "List[float]": _is_list(_is_number),
    "List[Tensor]": _is_list(_is_value),
    "List[Optional[Tensor]]": _is_list(lambda value: value is None or _is_value(value)),
}


def ordered_arguments(op: torch._ops.OpOverload, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`given` by name, as positional and keyword-only arguments.

    Raises:
        MalformedModel: an argument is missing, unknown, or of another type than the schema's.
    """
    for argument in op._schema.arguments:
        if argument.name in given and not _fits(given[argument.name], str(argument.real_type)):
            value = str(given[argument.name])[:80]
            raise MalformedModel(f"{op} takes {argument.real_type} as {argument.name!r}, not {value!r}")
    return in_schema_order(op, given)


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("Optional["):
        return value is None or _fits(value, kind.removeprefix("Optional[").removesuffix("]"))
    return kind in _FITS and _FITS[kind](value)
