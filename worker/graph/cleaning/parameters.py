"""Parameters that the graph computes from parameters are computed once, and stored instead.

A batch norm that is written out (`weight * rsqrt(var + eps)`), a normalised weight, an input projection that is cut
into three: what is computed from nothing but parameters is a parameter itself, and only as such has channels that can
be followed. Where an op leaves the axes of one parameter apart, like a transposition, it stays as it is.
"""

import operator
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from worker.graph.tensors import finished, free_name, place

__all__ = ["fold_parameters"]

aten = torch.ops.aten

_RANDOM = frozenset({"dropout", "feature_dropout", "alpha_dropout", "native_dropout", "bernoulli"})
_APART = frozenset(
    (
        *("permute", "transpose", "t", "numpy_T", "mT", "movedim", "swapaxes", "swapdims", "unsqueeze", "squeeze"),
        *("expand", "expand_as", "broadcast_to"),
        *("contiguous", "clone", "alias", "detach", "lift_fresh_copy", "to", "_to_copy", "type_as"),
    )
)
"""Ops after which one parameter still has its axes, in some order."""


@torch.no_grad()
def fold_parameters(module: fx.GraphModule) -> None:
    """Store what is computed from parameters alone, under the name of the largest of them, in place. The graph runs.

    That is left to the graph where a parameter has other readers, and where more values would be stored than before.
    """
    roots = _roots(module)
    ends = [node for node in roots if node.op == "call_function" and any(user not in roots for user in node.users)]
    stored = module.graph.find_nodes(op="get_attr")
    taken = {str(node.target) for node in stored if any(user not in roots for user in node.users)}
    folded = False
    for together in _sharing(ends, roots):
        names = dict.fromkeys(name for end in together for name in roots[end])
        if taken & names.keys() or all(_is_apart(end) for end in together):
            continue
        values = _evaluate(module, together, roots)
        if not all(_is_apart(end, values) for end in together):
            folded |= _store(module, {end: values[end] for end in together}, list(names))
    if folded:
        finished(module)


def _roots(module: fx.GraphModule) -> dict[fx.Node, tuple[str, ...]]:
    """The names of the parameters that a node is computed from, for nodes computed from nothing else."""
    roots: dict[fx.Node, tuple[str, ...]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and _tensor(module, node).is_floating_point():
            roots[node] = (str(node.target),)
        elif (
            node.op == "call_function"
            and node.all_input_nodes
            and _is_function(node)
            and all(source in roots for source in node.all_input_nodes)
        ):
            roots[node] = tuple(dict.fromkeys(name for source in node.all_input_nodes for name in roots[source]))
    return roots


def _is_function(node: fx.Node) -> bool:
    if node.target is operator.getitem:
        return True
    return isinstance(node.target, torch._ops.OpOverload) and _op_name(node) not in _RANDOM


def _op_name(node: fx.Node) -> str:
    return node.target._schema.name.removeprefix("aten::") if isinstance(node.target, torch._ops.OpOverload) else ""


def _tensor(module: nn.Module, node: fx.Node) -> Tensor:
    tensor = operator.attrgetter(str(node.target))(module)
    assert isinstance(tensor, Tensor)
    return tensor


def _sharing(ends: Iterable[fx.Node], roots: Mapping[fx.Node, tuple[str, ...]]) -> list[list[fx.Node]]:
    """Ends in sets that have parameters in common."""
    owner: dict[str, list[fx.Node]] = {}
    for end in ends:
        known = {id(owner[name]): owner[name] for name in roots[end] if name in owner}
        members = max(known.values(), key=len, default=[])
        for other in known.values():
            if other is not members:
                members += other
        members.append(end)
        owner |= dict.fromkeys((name for member in members for name in roots[member]) if len(known) > 1 else roots[end],
                               members)  # fmt: skip
    return list({id(members): members for members in owner.values()}.values())


def _is_apart(node: fx.Node, values: Mapping[fx.Node, Any] | None = None) -> bool:
    """Whether nothing happened to one parameter that rules for parameters do not follow: for sure, or by its shape."""
    while node.op != "get_attr":
        if len(node.all_input_nodes) != 1 or not isinstance(node.target, torch._ops.OpOverload):
            return False
        source = node.all_input_nodes[0]
        leaves_axes = _op_name(node) in _APART or torch.Tag.pointwise in node.target.tags
        if not leaves_axes and (values is None or _without_ones(values[source]) != _without_ones(values[node])):
            return False
        node = source
    return True


def _without_ones(value: Any) -> list[int] | None:
    return [size for size in value.shape if size > 1] if isinstance(value, Tensor) else None


def _evaluate(module: nn.Module, ends: list[fx.Node], roots: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    needed = set(ends)
    for node in reversed(list(roots)):
        if node in needed:
            needed.update(node.all_input_nodes)
    values: dict[fx.Node, Any] = {}
    for node in roots:
        if node in needed and node.op == "get_attr":
            values[node] = _tensor(module, node).detach()
        elif node in needed:
            assert callable(node.target)
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return values


def _store(module: fx.GraphModule, ends: Mapping[fx.Node, Any], names: list[str]) -> bool:
    before = {name: operator.attrgetter(name)(module) for name in names}
    after = ends.values()
    if not all(isinstance(value, Tensor) and value.is_floating_point() and value.isfinite().all() for value in after):
        return False
    if sum(value.numel() for value in after) > sum(tensor.numel() for tensor in before.values()):
        return False
    trainable = any(isinstance(tensor, nn.Parameter) for tensor in before.values())
    main = max(names, key=lambda name: before[name].numel())
    owner, _, leaf = main.rpartition(".")
    for position, (end, value) in enumerate(ends.items()):
        if len(ends) == 1:
            delattr(module.get_submodule(owner), leaf)
        name = main if len(ends) == 1 else free_name(module, f"{main}_{position}")
        stored = value.clone(memory_format=torch.contiguous_format)
        place(module, name, nn.Parameter(stored) if trainable else stored)
        with module.graph.inserting_before(end):
            end.replace_all_uses_with(module.graph.get_attr(name))
    return True
