"""In-place ops written as functional ones."""

from typing import Any

import torch
from torch import fx

from worker.errors import UnsupportedModel
from worker.graph.allowlist import OPERATOR_FUNCTIONS, aten_overload

__all__ = ["to_functional"]

aten = torch.ops.aten

_SOMETIMES_A_VIEW = frozenset(
    {
        aten.reshape.default,
        aten.reshape_as.default,
        aten.flatten.using_ints,
        aten.contiguous.default,
        aten.to.dtype,
        aten.to.dtype_layout,
        aten.to.other,
        aten.type_as.default,
        aten.dropout.default,
        aten.feature_dropout.default,
        aten.alpha_dropout.default,
    }
)
"""Ops that may answer their own argument, or a view of it, without saying so in their schema."""


_SCATTER: dict[Any, torch._ops.OpOverload] = {
    aten.slice.Tensor: aten.slice_scatter.default,
    aten.select.int: aten.select_scatter.default,
}


def to_functional(graph: fx.Graph) -> None:
    """Replace every in-place op by its functional form, and later uses of what it overwrote by its result.

    Raises:
        UnsupportedModel: an op overwrites a parameter or buffer, or a tensor that is also seen through a view.
    """
    memory = _Memory()
    order = {node: position for position, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        functional = _functional_form(node)
        if functional is None:
            memory.add(node)
            continue
        overwritten = node.args[0]
        if not isinstance(overwritten, fx.Node):
            raise UnsupportedModel(f"{node.target} overwrites something that is no tensor")
        if overwritten.op == "get_attr":
            if not _counts_batches(node):
                raise UnsupportedModel(f"the model overwrites its own tensor {overwritten.target!r} ({node.target})")
            graph.erase_node(node)
            continue
        here = order[node]
        parts = _parts(overwritten)
        whole = parts[-1].all_input_nodes[0] if parts else overwritten
        for other in memory.shared_with(overwritten):
            if other not in (whole, overwritten) and (
                other.op == "get_attr" or any(order[user] > here for user in other.users)
            ):
                raise UnsupportedModel(
                    f"{node.target} ({node.name}) overwrites memory that {other.name} shares. Call "
                    "program.run_decompositions({}) before torch.export.save: it makes the graph functional."
                )
        node.target = functional
        memory.add_fresh(node)
        written = node
        for part in parts:
            written = _written_back(part, written)
            order[written] = here
            memory.add_fresh(written)
        for old, new in {overwritten: node, whole: written}.items():
            for user in [user for user in old.users if order[user] > here]:
                user.replace_input_with(old, new)


def _parts(node: fx.Node) -> list[fx.Node]:
    """The slices that `node` is of a tensor made in the graph, the last one first: `x[1:, :2] = 0` overwrites two."""
    parts = []
    while node.target in _SCATTER:
        parts.append(node)
        node = node.all_input_nodes[0]
    return parts if node.op == "call_function" else []


def _written_back(part: fx.Node, value: fx.Node) -> fx.Node:
    """What `part` is a slice of, with `value` in its place."""
    whole, *where = part.args
    with value.graph.inserting_after(value):
        return value.graph.call_function(_SCATTER[part.target], (whole, value, *where))


def _functional_form(node: fx.Node) -> torch._ops.OpOverload | None:
    if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
        return None
    packet, overload = node.target._schema.name.removeprefix("aten::"), node.target._overloadname
    found = aten_overload(f"aten.{packet.removesuffix('_')}.{overload}") if packet.endswith("_") else None
    if found is None:
        if _writes_first_argument_only(node.target):
            raise UnsupportedModel(
                f"the op {str(node.target)!r} overwrites its argument and has no functional form here. Call "
                "program.run_decompositions({}) before torch.export.save."
            )
        return None
    return found


def _writes_first_argument_only(op: torch._ops.OpOverload) -> bool:
    writes = [argument.alias_info is not None and argument.alias_info.is_write for argument in op._schema.arguments]
    return writes[0] and not any(writes[1:])


def _counts_batches(node: fx.Node) -> bool:
    """`num_batches_tracked += 1`, which batch norm does in training and nothing reads."""
    target = node.args[0]
    return isinstance(target, fx.Node) and str(target.target).endswith("num_batches_tracked") and not node.users


class _Memory:
    """Which nodes may share memory: classes of nodes joined by views."""

    def __init__(self) -> None:
        self._class: dict[fx.Node, list[fx.Node]] = {}

    def shared_with(self, node: fx.Node) -> list[fx.Node]:
        return self._class[node]

    def add_fresh(self, node: fx.Node) -> None:
        self._class[node] = [node]

    def add(self, node: fx.Node) -> None:
        self.add_fresh(node)
        if not _may_be_view(node):
            return
        for argument in node.all_input_nodes:
            small, large = sorted((self._class[node], self._class[argument]), key=len)
            if small is not large:
                large += small
                for member in small:
                    self._class[member] = large


def _may_be_view(node: fx.Node) -> bool:
    if node.op != "call_function":
        return False
    if node.target is OPERATOR_FUNCTIONS["getitem"]:
        return True
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if node.target in _SOMETIMES_A_VIEW:
        return True
    return any(value.alias_info is not None for value in node.target._schema.returns)
