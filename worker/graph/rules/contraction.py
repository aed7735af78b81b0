"""Ops that sum over channels: they hand the incoming labels to the input side of a weight and mint new ones."""

from math import prod

import numpy as np

from worker.graph.propagation import Consumer, CostTerm
from worker.graph.rules.meeting import meet
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Labels, Value, Weight, count_kept

__all__ = ["multiply", "prefers_whole_groups"]


def prefers_whole_groups(groups: int, width: int) -> bool:
    """Whether a grouped op gives up whole groups, or the same channel of every group.

    Whole groups leave the width alone, usually a power of two, which suits blocked kernels; that is worth some choice,
    hence the factor. A depthwise convolution (width 1) always gives up whole groups.
    """
    return 2 * groups >= width


@rule("conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding", "conv3d.default", "conv3d.padding")
def _convolution(op: Op) -> Flow:
    weight = op.weight("weight")
    if weight is None:
        return op.unknown("the kernel is computed in the graph")
    return _convolve(op, weight, op.constant("groups", 1))


@rule("convolution.default")
def _general_convolution(op: Op) -> Flow:
    weight = op.weight("weight")
    if weight is None:
        return op.unknown("the kernel is computed in the graph")
    if op.constant("transposed"):
        return _convolve_transposed(op, weight, op.constant("groups", 1))
    return _convolve(op, weight, op.constant("groups", 1))


@rule("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
def _transposed_convolution(op: Op) -> Flow:
    weight = op.weight("weight")
    if weight is None:
        return op.unknown("the kernel is computed in the graph")
    return _convolve_transposed(op, weight, op.constant("groups", 1))


def _convolve(op: Op, weight: Weight, groups: int) -> Flow:
    ledger, channels, width = op.ledger, weight.shape[0], weight.shape[1]
    axis = len(op.shape) - (len(weight.shape) - 1)
    incoming = ledger.axis_labels(op.value("input"), axis)
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
    if incoming.any():
        _consume(op, "input", axis)
    positions = prod(op.shape) // channels
    return _layer(op, weight, (0, 1), positions * prod(weight.shape[2:]), axis, outgoing)


def _convolve_transposed(op: Op, weight: Weight, groups: int) -> Flow:
    if groups > 1:
        return op.unknown("a grouped transposed convolution has no rule yet")
    ledger, value = op.ledger, op.value("input")
    axis = len(op.shape) - (len(weight.shape) - 1)
    ledger.claim_axis(weight, 0, ledger.axis_labels(value, axis))
    _consume(op, "input", axis)
    outgoing = ledger.output_labels(weight, 1)
    positions = prod(value.shape) // weight.shape[0]
    return _layer(op, weight, (1, 0), positions * prod(weight.shape[2:]), axis, outgoing)


@rewrite("conv1d.default", "conv1d.padding", "conv2d.default", "conv2d.padding", "conv3d.default", "conv3d.padding")
@rewrite("convolution.default")
def _fewer_groups(removal: Removal) -> None:
    groups, value = removal.arguments.get("groups", 1), removal.value("input")
    if groups == 1 or value is None or not isinstance(removal.result, Value):
        return
    for axis in removal.result.tracked:
        width = value.shape[axis] // groups
        if prefers_whole_groups(groups, width):
            removal.set("groups", count_kept(value, axis, removal.keep) // width)


def _consume(op: Op, name: str, axis: int) -> None:
    op.ledger.consumers.append(Consumer(op.node.name, op.arguments[name].name, axis))


def _layer(op: Op, weight: Weight, axes: tuple[int, int], coefficient: int, axis: int, outgoing: Labels) -> Value:
    """Note the layer, its cost and its bias. `axes` are the (output, input) axes of the weight's value."""
    ledger = op.ledger
    factors = []
    for position in axes:
        stored = weight.axes[position]
        assert stored is not None
        factors.append((weight.name, stored))
    ledger.layers.setdefault(weight.name, op.name.split(".")[1])
    ledger.output_axes.setdefault(weight.name, factors[0][1])
    ledger.costs.append(CostTerm(weight.name, coefficient, tuple(factors)))
    bias = op.flow("bias")
    if isinstance(bias, Weight):
        ledger.claim_axis(bias, len(bias.shape) - 1, outgoing)
        ledger.biases.setdefault(bias.name, weight.name)
    elif bias is not None:
        ledger.pin(outgoing)
        ledger.pin(op.as_value(bias).labels)
    return Value.along(op.shape, axis, outgoing)


@rule("linear.default")
def _linear(op: Op) -> Flow:
    weight = op.weight("weight")
    if weight is None or len(weight.shape) != 2:
        return op.unknown("the weight of a linear layer is computed in the graph")
    return _dense(op, "input", weight, (0, 1))


@rule("addmm.default")
def _affine(op: Op) -> Flow:
    weight, bias = op.weight("mat2"), op.flow("self")
    plain = op.constant("beta", 1) == 1 and op.constant("alpha", 1) == 1
    if weight is None or not plain or not isinstance(bias, Weight) or len(bias.shape) != 1:
        return op.unknown("only addmm(bias, x, weight) with a bias of one axis has a rule")
    result = _dense(op, "mat1", weight, (1, 0))
    op.ledger.claim_axis(bias, 0, op.ledger.output_labels(weight, 1))
    op.ledger.biases.setdefault(bias.name, weight.name)
    return result


@rule("mm.default", "matmul.default", "bmm.default")
def _product(op: Op) -> Flow:
    left = "input" if "input" in op.arguments else "self"
    right = "mat2" if "mat2" in op.arguments else "other"
    weight = op.weight(right)
    if op.weight(left) is not None:
        return op.unknown("a parameter on the left of a matrix product has no rule yet")
    if weight is not None and len(weight.shape) == 2:
        return _dense(op, left, weight, (1, 0))
    first, second = op.value(left), op.value(right)
    if len(first.shape) < 2 or len(second.shape) < 2:
        return op.unknown("a product with a vector has no rule yet")
    return multiply(op, first, second, op.shape)


def _dense(op: Op, name: str, weight: Weight, axes: tuple[int, int]) -> Flow:
    """The argument called `name` @ weight over the last axis; `axes` are the (output, input) axes of the weight."""
    ledger = op.ledger
    if any(weight.axes[axis] is None for axis in axes):
        return op.unknown("the weight of a product was expanded")
    value = op.value(name)
    incoming = ledger.axis_labels(value, len(value.shape) - 1)
    _consume(op, name, len(value.shape) - 1)
    outgoing = ledger.output_labels(weight, axes[0])
    ledger.claim_axis(weight, axes[1], incoming)
    positions = prod(op.shape) // op.shape[-1]
    return _layer(op, weight, axes, positions, len(op.shape) - 1, outgoing)


def multiply(op: Op, first: Value, second: Value, shape: tuple[int, ...]) -> Value:
    """(…, M, K) @ (…, K, N) of two activations: K meets K; where heads are tracked, whole heads go."""
    ledger = op.ledger
    left, right = len(first.shape) - 1, len(second.shape) - 2
    summed = np.swapaxes(second.labels, -1, -2)
    if first.is_plain or second.is_plain:
        first, second = ledger.freeze(first, left), ledger.freeze(second, right)
    else:
        ledger.tie(first.labels, summed)
    factor = first.labels.reshape(-1) if first.tracked == [left] else None
    rows, columns = ledger.summed(first, left), ledger.summed(second, right)
    result = meet(op.ledger, [Value((*rows.shape[:-1], 1), rows.labels), _as_row(columns)], shape)
    size = prod(shape) * first.shape[-1]
    tracked = result.labels.reshape(-1)
    factors = [tracked] if len(tracked) > 1 else []
    factors += [factor] if factor is not None else []
    coefficient = size / prod(len(labels) for labels in factors)
    ledger.costs.append(CostTerm(None, coefficient, tuple(factors)))
    return result


def _as_row(value: Value) -> Value:
    shape = (*value.shape[:-2], 1, value.shape[-1])
    return Value(shape, value.labels.take([0], value.labels.ndim - 2))


@rule("embedding.default")
def _embedding(op: Op) -> Flow:
    weight = op.weight("weight")
    if weight is None:
        return op.unknown("the table of an embedding is computed in the graph")
    outgoing = op.ledger.output_labels(weight, 1)
    op.ledger.claim_axis(weight, 0, np.zeros(weight.shape[0], dtype=np.int64))
    op.ledger.layers.setdefault(weight.name, "embedding")
    op.ledger.output_axes.setdefault(weight.name, 1)
    return Value.along(op.shape, len(op.shape) - 1, outgoing)
