"""Cut components out of a network: parameters are indexed, constant sizes follow, and blocks are bypassed."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from worker.errors import UnsupportedModel
from worker.graph.arguments import bind
from worker.graph.network import Network
from worker.graph.rules import Removal, find_rewrite
from worker.graph.structure import Selection, Structure
from worker.graph.tensors import drop, named_tensor, place
from worker.graph.values import Value, count_kept, kept_along

__all__ = ["cut", "cut_graph", "kept_entries", "remove"]

Positions = npt.NDArray[np.intp]


def remove(
    network: Network,
    structure: Structure,
    selection: Selection,
    *,
    since: Selection | None = None,
    consume: bool = False,
) -> Network:
    """The network of what `selection` keeps; `network` itself is left alone.

    `structure` is the analysis of the dense network and gives the graph; `network` gives the weights. With `since`,
    `network` is what an earlier `remove` made of that selection, perhaps trained since, and only the difference is cut.
    With `consume` each tensor of `network` is given up once it is cut, so that never two networks are held; `network`
    is of no use afterwards.

    Raises UnsupportedModel for an op whose arguments cannot follow what is removed.
    """
    before = structure.everything() if since is None else since
    graph = cut_graph(structure, selection)
    root = torch.nn.Module()
    tensors = (network.module.named_parameters, network.module.named_buffers)
    for name in [name for named in tensors for name, _ in named(remove_duplicate=False)]:
        if structure.keeps_parameter(name, selection):
            kept = kept_entries(structure, name, selection, before)
            place(root, name, _own(named_tensor(network.module, name), kept, shared=not consume))
        if consume:
            drop(network.module, name)
    return network.with_module(fx.GraphModule(root, graph, class_name="Network"))


def cut_graph(structure: Structure, selection: Selection) -> fx.Graph:
    """The graph of what `selection` keeps. Raises UnsupportedModel like `remove`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in structure.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    if not selection.all():
        _resize_constants(graph, structure, selection)
        _bypass(graph, structure, selection)
    graph.lint()
    return graph


def kept_entries(structure: Structure, name: str, selection: Selection, before: Selection) -> dict[int, Positions]:
    """Positions that stay, by axis of parameter `name`, counted among the entries that `before` has left."""
    kept: dict[int, Positions] = {}
    for numbers in structure.claims.get(name, ()):
        for axis in (axis for axis, size in enumerate(numbers.shape) if size > 1):
            present = kept_along(numbers, axis, before)
            positions = np.flatnonzero(np.isin(present, kept_along(numbers, axis, selection)))
            if len(positions) < len(present):
                kept[axis] = positions
    return kept


def cut(tensor: Tensor, kept: dict[int, Positions]) -> Tensor:
    """The entries of `tensor` at the `kept` positions, by axis, detached; the memory of `tensor` where all are kept."""
    result = tensor.detach()
    for axis, positions in kept.items():
        result = result.index_select(axis, torch.from_numpy(positions).to(result.device))
    return result


def _own(tensor: Tensor, kept: dict[int, Positions], *, shared: bool) -> Tensor:
    """What `cut` makes, trainable like `tensor`, and in memory of its own where that of `tensor` is `shared`."""
    result = cut(tensor, kept)
    if shared and not kept:
        result = result.clone()
    trainable = isinstance(tensor, torch.nn.Parameter)
    return torch.nn.Parameter(result, requires_grad=tensor.requires_grad) if trainable else result


def _resize_constants(graph: fx.Graph, structure: Structure, selection: Selection) -> None:
    """Let each op with sizes among its arguments follow what is kept. The arguments are those of the dense graph."""
    for node in list(graph.nodes):
        if isinstance(node.target, torch._ops.OpOverload):
            rewrite = find_rewrite(node.target)
            if rewrite is not None:
                resize = _resizer(node, structure, selection)
                try:
                    rewrite(Removal(node, bind(node), structure.flows, selection, structure.claims, resize))
                except MemoryError:
                    raise
                except Exception as error:  # an upload chooses the arguments
                    raise UnsupportedModel(
                        f"{node.name} ({node.target}) has unusual arguments that cannot follow the channels which are "
                        f"removed before it ({type(error).__name__}: {error}). Protect those layers with prune.protect"
                    ) from error


def _bypass(graph: fx.Graph, structure: Structure, selection: Selection) -> None:
    """Take the sums of blocks that are left out for their skips, and drop what is then read by nothing."""
    stand_ins = structure.stand_ins(selection)
    if not stand_ins:
        return
    nodes = {node.name: node for node in graph.nodes}
    for add, skip in stand_ins.items():
        nodes[add].replace_all_uses_with(nodes[skip])
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users:
            graph.erase_node(node)


def _resizer(node: fx.Node, structure: Structure, selection: Selection) -> Callable[[Any, int], Any]:
    """How `node` gets a size: a constant is replaced; a size computed in the graph (batch · heads) is scaled unless it
    follows the removal by itself."""

    def resize(argument: Any, size: int) -> Any:
        if not isinstance(argument, fx.Node):
            return size
        computed = _evaluate(argument, structure, selection)
        if computed is None or computed == size:
            return argument
        graph = node.graph
        with graph.inserting_before(node):
            scaled = graph.call_function(operator.mul, (argument, size))
            return graph.call_function(operator.floordiv, (scaled, computed))

    return resize


def _evaluate(argument: Any, structure: Structure, selection: Selection) -> int | None:
    """The number that a size computed in the graph will be, for one sample, once the selection is cut."""
    if not isinstance(argument, fx.Node):
        return int(argument) if isinstance(argument, int) else None
    if argument.target is torch.ops.aten.sym_size.int:
        source, axis = argument.args
        flow = structure.flows[source.name] if isinstance(source, fx.Node) else None
        return count_kept(flow, int(str(axis)), selection) if isinstance(flow, Value) else None
    if getattr(argument.target, "__module__", "") == "_operator":
        parts = [_evaluate(part, structure, selection) for part in argument.args]
        return None if None in parts else int(argument.target(*parts))  # type: ignore[operator]
    return None
