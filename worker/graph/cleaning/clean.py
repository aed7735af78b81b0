"""A graph as it serves: functional, composite, without what computes nothing."""

import torch
from torch import fx

from worker.graph.cleaning.composites import to_composites
from worker.graph.cleaning.functional import to_functional

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
_INSTANCE_NORM_BATCH_FLAG = 5
_RUNNING_MEAN = 3
_ATTENTION_DROPOUT = 4


def clean(graph: fx.Graph) -> None:
    """Bring a graph into the form that every later stage expects.

    Requires: arguments in the order of the schemas. Ensures: no assertions, no in-place ops, batch norm and dropout as
    one op each, no dropout inside attention, no dead nodes.

    Raises:
        UnsupportedModel: see `to_functional` and `to_composites`.
    """
    for node in list(graph.nodes):
        if node.target in _ASSERTIONS and not node.users:
            graph.erase_node(node)
    to_functional(graph)
    to_composites(graph)
    for node in graph.nodes:
        _to_inference(node)
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users:
            graph.erase_node(node)
    graph.lint()


def _to_inference(node: fx.Node) -> None:
    """Ops whose mode `set_mode` does not switch: torch.export knows no inference form of them to switch back to."""
    if node.target is aten.scaled_dot_product_attention.default and len(node.args) > _ATTENTION_DROPOUT:
        node.update_arg(_ATTENTION_DROPOUT, 0.0)
    elif node.target is aten.instance_norm.default and node.args[_RUNNING_MEAN] is not None:
        node.update_arg(_INSTANCE_NORM_BATCH_FLAG, False)
