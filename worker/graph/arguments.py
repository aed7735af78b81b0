"""Arguments of a call by the names in its op's schema, and back in the schema's order."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import fx

from worker.errors import MalformedModel

__all__ = ["bind", "in_schema_order"]


def bind(node: fx.Node) -> dict[str, Any]:
    """Arguments of a call by the names in the op's schema. Those left to their default are absent."""
    assert isinstance(node.target, torch._ops.OpOverload)
    bound = dict(zip(_names(node.target), node.args, strict=False))
    return bound | node.kwargs if node.kwargs else bound


@cache
def _names(op: torch._ops.OpOverload) -> tuple[str, ...]:
    return tuple(argument.name for argument in op._schema.arguments)


def in_schema_order(op: torch._ops.OpOverload, given: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`given` by name, as positional and keyword-only arguments; later stages count on the positions.

    Defaults fill the gaps between positional arguments and are left off at the end.

    Raises:
        MalformedModel: an argument is missing or unknown.
    """
    left = dict(given)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    gap: list[Any] = []
    for argument in op._schema.arguments:
        if argument.name in left:
            value = left.pop(argument.name)
            if argument.kwarg_only:
                kwargs[argument.name] = value
            else:
                args += [*gap, value]
                gap = []
        elif not argument.has_default_value():
            raise MalformedModel(f"{op} lacks its argument {argument.name!r}")
        elif not argument.kwarg_only:
            gap.append(argument.default_value)
    if left:
        raise MalformedModel(f"{op} has no argument {next(iter(left))[:80]!r}")
    return tuple(args), kwargs
