"""Convolutions: the incoming labels go to the input side of the kernel, its output gets fresh ones."""

from math import prod

import numpy as np

from worker.graph.propagation import CostTerm
from worker.graph.rules.layer import add_bias, consume, note_layer
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Labels, Value, Weight, count_kept

__all__ = ["prefers_whole_groups"]

_CONVOLUTIONS = tuple(f"conv{n}d.{form}" for n in (1, 2, 3) for form in ("default", "padding"))
_TRANSPOSED = ("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")


def prefers_whole_groups(groups: int, width: int) -> bool:
    """Whether a grouped op gives up whole groups, or the same channel of every group.

    Whole groups leave the width alone, usually a power of two, which suits blocked kernels; that is worth some choice,
    hence the factor. A depthwise convolution (width 1) always gives up whole groups.
    """
    return 2 * groups >= width


@rule(*_CONVOLUTIONS, *_TRANSPOSED, "convolution.default")
def _convolution(op: Op) -> Flow:
    weight, groups = op.weight("weight"), op.constant("groups", 1)
    if weight is None or None in weight.axes[:2]:
        return op.unknown("the kernel is computed in the graph")
    axis = len(op.shape) - (len(weight.shape) - 1)
    incoming = op.ledger.axis_labels(op.value("input"), axis)
    if not (op.constant("transposed", False) or "transpose" in op.name):
        return _convolve(op, weight, groups, axis, incoming)
    if groups > 1:
        return _convolve_transposed_groups(op, weight, groups, axis, incoming)
    op.ledger.claim_axis(weight, 0, incoming)
    return _layer(op, weight, (1, 0), axis, incoming, op.ledger.output_labels(weight, 1))


def _convolve(op: Op, weight: Weight, groups: int, axis: int, incoming: Labels) -> Flow:
    ledger, width = op.ledger, weight.shape[1]
    outgoing = ledger.output_labels(weight, 0)
    if groups > 1:
        rows, columns = outgoing.reshape(groups, -1), incoming.reshape(groups, width)
        if prefers_whole_groups(groups, width):
            ledger.tie(rows, columns[:, :1])
            ledger.tie(columns, columns[:, :1])
            incoming = np.zeros(width, dtype=np.int64)
        else:
            ledger.tie(rows, rows[:1])
            ledger.tie(columns, columns[:1])
            incoming = columns[0]
    ledger.claim_axis(weight, 1, incoming)
    return _layer(op, weight, (0, 1), axis, incoming, outgoing)


def _convolve_transposed_groups(op: Op, weight: Weight, groups: int, axis: int, incoming: Labels) -> Flow:
    """The kernel is (inputs, outputs ÷ groups, …): inputs of all groups lie one after another, outputs do not."""
    ledger, rows = op.ledger, incoming.reshape(groups, -1)
    ledger.claim_axis(weight, 0, incoming)
    if prefers_whole_groups(groups, rows.shape[1]):
        ledger.tie(rows, rows[:, :1])
        ledger.hold(weight, 1)
        return _layer(op, weight, (0, 1), axis, incoming, rows[:, 0].repeat(weight.shape[1]))
    ledger.tie(rows, rows[:1])
    return _layer(op, weight, (1, 0), axis, incoming, np.tile(ledger.output_labels(weight, 1), groups))


def _layer(op: Op, weight: Weight, axes: tuple[int, int], axis: int, incoming: Labels, outgoing: Labels) -> Value:
    """`axes` are the axis of the weight's value along which the output channels lie, and the other one."""
    if incoming.any():
        consume(op, op.arguments["input"].name, axis)
    # Every position of the wider side, in every sample, meets the whole kernel once.
    source = op.value("input") if "transpose" in op.name or op.constant("transposed", False) else Value.plain(op.shape)
    positions = prod(source.shape) // source.shape[axis]
    note_layer(op, weight, axes[0])
    factors = tuple((weight.name, stored) for position in axes if (stored := weight.axes[position]) is not None)
    op.ledger.costs.append(CostTerm(weight.name, positions * prod(weight.shape[2:]), factors))
    return add_bias(op, weight, Value.along(op.shape, axis, outgoing), axis)


@rewrite(*_CONVOLUTIONS, *_TRANSPOSED, "convolution.default")
def _fewer_groups(removal: Removal) -> None:
    groups, value = removal.arguments.get("groups", 1), removal.value("input")
    if groups == 1 or value is None or not isinstance(removal.result, Value):
        return
    for axis in removal.result.tracked:
        width = value.shape[axis] // groups
        if prefers_whole_groups(groups, width):
            removal.set("groups", count_kept(value, axis, removal.keep) // width)
