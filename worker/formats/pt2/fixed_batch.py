"""Graphs that were exported with a fixed batch, which is what `torch.export.export` does unless told otherwise."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

__all__ = ["follow_batch", "mixed_output"]

aten = torch.ops.aten

_WITH_SIZES = (aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.expand.default)
_TOLERANCE = 1e-4


def follow_batch(module: fx.GraphModule, batch: int) -> None:
    """Let sizes that repeat the batch of the export follow the batch of the input, in place.

    `view(x, [2, -1])` of a graph exported with two samples becomes `view(x, [size(input, 0), -1])`. This guesses which
    sizes are the batch: compare the answers afterwards.
    """
    graph = module.graph
    first = graph.find_nodes(op="placeholder")[0]
    depends: set[fx.Node] = set()
    size: fx.Node | None = None
    for node in list(graph.nodes):
        if node.op == "placeholder" or any(argument in depends for argument in node.all_input_nodes):
            depends.add(node)
        if node.target not in _WITH_SIZES or (node not in depends and node.target is not aten.expand.default):
            continue
        sizes = node.args[1]
        if isinstance(sizes, list | tuple) and sizes and sizes[0] == batch:
            if size is None:
                with graph.inserting_after(graph.find_nodes(op="placeholder")[-1]):
                    size = graph.call_function(aten.sym_size.int, (first, 0))
            node.update_arg(1, [size, *sizes[1:]])
    module.recompile()


def mixed_output(module: fx.GraphModule, samples: Sequence[Tensor], batch: int, outputs: Sequence[str]) -> str | None:
    """The first output where the first `batch` samples are answered differently when another sample is there."""
    with torch.no_grad():
        fewer = module(*(sample[:batch] for sample in samples))
        more = module(*samples)
    for name, a, b in zip(outputs, fewer, more, strict=True):
        expected, found = a.double(), b[:batch].double()
        scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
        if not torch.allclose(expected, found, rtol=0, atol=_TOLERANCE * scale):
            return name
    return None
