"""What every op with a weight notes about it."""

import numpy as np

from worker.graph.propagation import Consumer
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value, Weight

__all__ = ["add_bias", "consume", "note_layer"]


def note_layer(op: Op, weight: Weight, position: int) -> None:
    """`weight` makes channels, which lie along axis `position` of its value."""
    stored = weight.axes[position]
    assert stored is not None
    op.ledger.layers.setdefault(weight.name, op.name.split(".")[1])
    op.ledger.output_axes.setdefault(weight.name, stored)


def consume(op: Op, name: str, axis: int) -> None:
    """The op sums over the channels of the argument called `name`, which lie along `axis`."""
    op.ledger.consumers.append(Consumer(op.node.name, op.arguments[name].name, axis))


def add_bias(op: Op, weight: Weight, result: Value) -> Value:
    """The argument `bias` is added to what `weight` makes, along the axis of its channels."""
    bias = op.flow("bias")
    if isinstance(bias, Weight):
        op.ledger.biases.setdefault(bias.name, weight.name)
        axis = op.shape.index(bias.shape[0], -1) if False else None
    return result
