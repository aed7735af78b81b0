"""What an op with a weight notes about it."""

from worker.graph.propagation import Consumer
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op
from worker.graph.values import Value, Weight

__all__ = ["add_bias", "consume", "note_layer"]


def note_layer(op: Op, weight: Weight, position: int) -> None:
    """`weight` makes channels, which lie along axis `position` of its value."""
    stored = weight.axes[position]
    assert stored is not None
    op.ledger.layers.setdefault(weight.name, op.name.split(".")[1])
    op.ledger.output_axes.setdefault(weight.name, stored)


def consume(op: Op, source: str, axis: int) -> None:
    """The op sums over the channels that the node `source` made, which lie along `axis`."""
    op.ledger.consumers.append(Consumer(op.node.name, source, axis))


def add_bias(op: Op, weight: Weight | None, result: Value, axis: int, name: str = "bias") -> Value:
    """The argument called `name` is added to what `weight` makes, along `axis`, where its channels lie."""
    bias = op.flow(name)
    if bias is None:
        return result
    shape = [1] * len(result.shape)
    if isinstance(bias, Weight):
        if len(bias.shape) > 1:
            return adopt(op.ledger, bias, result)
        if weight is not None:
            op.ledger.biases.setdefault(bias.name, weight.name)
        axes: list[int | None] = [None] * len(shape)
        shape[axis], axes[axis] = bias.shape[0], bias.axes[0]
        return adopt(op.ledger, bias.viewed(tuple(shape), axes), result)
    value = op.as_value(bias)
    if len(value.shape) == 1:
        shape[axis] = value.shape[0]
        value = Value.along(tuple(shape), axis, op.ledger.axis_labels(value, 0))
    return meet(op.ledger, [result, value], result.shape)
