"""Passes that bring a graph into the form the engine works on. Each says what it ensures."""

import torch
from torch import fx

from worker.errors import UnsupportedModel

__all__ = ["clean"]

aten = torch.ops.aten

_ASSERTIONS = frozenset(
    {
        aten._assert_tensor_metadata.default,
        aten._assert_scalar.default,
        aten._assert_async.msg,
        aten.sym_constrain_range.default,
        aten.sym_constrain_range_for_size.default,
    }
)

# Arguments begin with (input, weight, bias, mean, variance) and end with (momentum, eps); some have `training` between.
_BATCH_NORMS = frozenset(
    {
        aten._native_batch_norm_legit_no_training.default,
        aten.native_batch_norm.default,
        aten._native_batch_norm_legit.default,
    }
)

_VIEWS = frozenset(
    {
        aten.view.default,
        aten.reshape.default,
        aten.flatten.using_ints,
        aten.permute.default,
        aten.transpose.int,
        aten.t.default,
        aten.squeeze.dim,
        aten.squeeze.default,
        aten.unsqueeze.default,
        aten.expand.default,
        aten.select.int,
        aten.slice.Tensor,
        aten.detach.default,
        aten.alias.default,
        aten.contiguous.default,
        aten.split.Tensor,
        aten.split_with_sizes.default,
        aten.chunk.default,
        aten.unbind.int,
        aten.to.dtype,
    }
)


def clean(module: fx.GraphModule) -> None:
    """Run all passes on `module.graph` and recompile it. Raises UnsupportedModel when an in-place op cannot be undone.

    Ensures: no assertions; no in-place ops; batch norm as `aten.batch_norm`; no dead code; no metadata.
    """
    drop_assertions(module.graph)
    make_functional(module.graph)
    restore_batch_norm(module.graph)
    module.graph.eliminate_dead_code()
    for node in module.graph.nodes:
        node.meta = {}
    module.delete_all_unused_submodules()
    module.graph.lint()
    module.recompile()


def drop_assertions(graph: fx.Graph) -> None:
    """Ensures that no node only checks sizes or types."""
    for node in reversed(graph.nodes):
        if node.target in _ASSERTIONS and not node.users:
            graph.erase_node(node)


def make_functional(graph: fx.Graph) -> None:
    """Ensures that no op writes into its argument: `relu_(x)` becomes `relu(x)`, and what read `x` later reads that.

    An update of a parameter or buffer whose result is not used (the batch counter of batch norm) is dropped. Raises
    UnsupportedModel when the tensor is also seen through a view that is read later.
    """
    position = {node: place for place, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        functional = _functional(node.target)
        if functional is None:
            continue
        source = node.args[0]
        assert isinstance(source, fx.Node)
        if source.op == "get_attr" and not node.users:
            graph.erase_node(node)
            continue
        later = [alias for alias in _aliases(source) if alias is not source and _read_after(alias, node, position)]
        if later or source.op == "get_attr":
            raise UnsupportedModel(
                f"{node.target} writes into {source.name}, which is also read elsewhere; "
                "export the model with out-of-place ops"
            )
        node.target = functional
        source.replace_all_uses_with(node, lambda user: position[user] > position[node])  # noqa: B023 -- called at once
    graph.lint()


def _functional(target: object) -> torch._ops.OpOverload | None:
    if not isinstance(target, torch._ops.OpOverload):
        return None
    packet, overload = target._schema.name.removeprefix("aten::"), target._overloadname
    if not packet.endswith("_") or packet.startswith("__"):
        return None
    if packet == "zero_":
        return aten.zeros_like.default
    found = getattr(getattr(aten, packet[:-1], None), overload, None)
    if found is None:
        raise UnsupportedModel(f"{target} writes into its argument and has no out-of-place form")
    return found  # type: ignore[no-any-return]


def _aliases(source: fx.Node) -> list[fx.Node]:
    """Nodes that may share memory with `source`: what it is a view of, and views of that."""
    root = source
    while root.target in _VIEWS or _is_item(root):
        parent = root.args[0]
        assert isinstance(parent, fx.Node)
        root = parent
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting += [user for user in node.users if (user.target in _VIEWS or _is_item(user)) and user.args[0] is node]
    return found


def _is_item(node: fx.Node) -> bool:
    parent = node.args[0] if node.args else None
    return getattr(node.target, "__name__", "") == "getitem" and isinstance(parent, fx.Node) and parent.target in _VIEWS


def _read_after(alias: fx.Node, node: fx.Node, position: dict[fx.Node, int]) -> bool:
    return any(position[user] > position[node] and user is not node for user in alias.users)


def restore_batch_norm(graph: fx.Graph) -> None:
    """Ensures that batch norm in one of its decomposed inference forms is `aten.batch_norm`, which can be trained."""
    for node in list(graph.nodes):
        if node.target not in _BATCH_NORMS or len(node.args) < 7 or (len(node.args) == 8 and node.args[5] is not False):
            continue
        items = list(node.users)
        if any(item.args[1] != 0 for item in items if item.users):
            continue
        x, weight, bias, mean, variance = node.args[:5]
        momentum, eps = node.args[-2:]
        with graph.inserting_before(node):
            whole = graph.call_function(
                aten.batch_norm.default, (x, weight, bias, mean, variance, False, momentum, eps, False)
            )
        for item in items:
            if item.args[1] == 0:
                item.replace_all_uses_with(whole)
            graph.erase_node(item)
        graph.erase_node(node)
