"""Look-ups that take all values in the order in which they lie are views.

Exporters write `as_strided`, as which a global average pool of torch ends, as arithmetic on positions: the tensor is
flattened and read at `channels · sample + channel`. As a view, channels can be followed through it.
"""

from typing import Any

import torch
from torch import Tensor, fx

from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.tensors import device_of, finished

__all__ = ["lookups_to_views"]

aten = torch.ops.aten

_BATCHES = (2, 3, 5)
"""Positions are linear in the number of the sample: where they are in order for three batch sizes, they always are."""

_FLATTENING = frozenset({aten.reshape.default, aten.view.default})


def lookups_to_views(network: Network) -> None:
    """Rewrite in place. The network is run, if there is any such look-up."""
    candidates = [node for node in network.module.graph.nodes if _may_be_a_view(node)]
    shapes: dict[fx.Node, list[tuple[int, ...]]] = {node: [] for node in candidates}
    for batch in _BATCHES if candidates else ():
        watch = _Watch(network.module, {_index(node) for node in candidates})
        inputs = (tensor.to(device_of(network)) for tensor in example_inputs(network, batch))
        with torch.no_grad():
            watch.run(*inputs)
        for node in candidates:
            index = watch.seen[_index(node)]
            if torch.equal(index.flatten(), torch.arange(index.numel(), device=index.device)):
                shapes[node].append(tuple(index.shape))
    for node in candidates:
        _replace(node, shapes[node])
    if candidates:
        finished(network.module)


def _index(node: fx.Node) -> Any:
    return node.args[1][0]  # type: ignore[index]  # a list in valid graphs


def _may_be_a_view(node: fx.Node) -> bool:
    """A look-up in a flattened tensor, at positions that are computed from nothing but sizes."""
    if node.target is not aten.index.Tensor or len(node.args[1]) != 1:  # type: ignore[arg-type]  # a list
        return False
    flat = node.args[0]
    return (
        isinstance(flat, fx.Node)
        and flat.target in _FLATTENING
        and list(flat.args[1]) == [-1]  # type: ignore[arg-type]  # sizes
        and _is_of_sizes(_index(node))
    )


def _is_of_sizes(index: fx.Node) -> bool:
    open_, seen = [index], {index}
    while open_:
        node = open_.pop()
        if node.op == "placeholder":
            return False
        if node.target is aten.sym_size.int:
            continue
        new = [source for source in node.all_input_nodes if source not in seen]
        seen.update(new)
        open_ += new
    return True


class _Watch(fx.Interpreter):
    """Keeps what some nodes make."""

    def __init__(self, module: fx.GraphModule, watched: set[fx.Node]) -> None:
        super().__init__(module)
        self.watched = watched
        self.seen: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.watched:
            self.seen[n] = result
        return result


def _replace(node: fx.Node, shapes: list[tuple[int, ...]]) -> None:
    if len(shapes) < len(_BATCHES) or len({len(shape) for shape in shapes}) > 1:
        return
    sizes = [found[0] if len(set(found)) == 1 else -1 for found in zip(*shapes, strict=True)]
    flat = node.args[0]
    assert isinstance(flat, fx.Node)
    if sizes.count(-1) <= 1:
        with node.graph.inserting_before(node):
            view = node.graph.call_function(aten.reshape.default, (flat.args[0], sizes))
        node.replace_all_uses_with(view)
        node.graph.erase_node(node)
