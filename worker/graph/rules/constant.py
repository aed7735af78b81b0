"""Tensors of one value, made in the graph. Their sizes are arguments, so they take those of what they meet."""

from worker.graph.propagation import Propagation
from worker.graph.rules.registry import Op, rewrite, rule
from worker.graph.rules.shape import resize_result
from worker.graph.values import Flow, Value

__all__ = ["with_own_channels"]

_MADE = (
    "zeros.default", "ones.default", "full.default", "new_zeros.default", "new_ones.default", "new_full.default"
)  # fmt: skip


@rule(*_MADE)
def _constant(op: Op) -> Flow:
    # Of a tensor argument only the type is taken.
    sizes, shape = op.arguments["size"], op.shape
    elastic = {
        axis: frozenset({(op.node.name, axis)})
        for axis, size in enumerate(shape)
        if size > 1 and isinstance(sizes[axis], int)
    }
    return Value(shape, Value.plain(shape).labels, elastic)


rewrite(*_MADE)(resize_result)


def with_own_channels(ledger: Propagation, value: Value, axis: int) -> Value:
    """A constant whose entries along `axis` may go one by one, with labels of its own there."""
    labels = ledger.mint(value.shape[axis])
    ledger.stretch(value, axis, labels)
    return Value.along(value.shape, axis, labels)
