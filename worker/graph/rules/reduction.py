"""Ops that summarise an axis. Sums and means work on fewer entries; what compares entries keeps its axis."""

import numpy as np

from worker.graph.rules.meeting import meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value

_STATISTICS = frozenset({"mean", "var", "std", "var_mean", "std_mean"})


@rule(
    *("mean.default", "mean.dim", "sum.default", "sum.dim_IntList", "nansum.default", "count_nonzero.dim_IntList"),
    *("var.default", "var.dim", "var.correction", "std.default", "std.dim", "std.correction"),
    *("var_mean.dim", "var_mean.correction", "std_mean.dim", "std_mean.correction"),
)
def _summary(op: Op) -> Flow:
    return _reduce(op, frozen=False)


@rule("linalg_vector_norm.default", "norm.Scalar", "norm.ScalarOpt_dim", "norm.ScalarOpt_dim_dtype")
def _norm(op: Op) -> Flow:
    order = op.constant("ord", op.constant("p", 2))
    # What is removed counts as 0, which only the negative orders see.
    return _reduce(op, frozen=order is not None and order < 0)


@rule(
    *("amax.default", "amin.default", "max.default", "min.default", "argmax.default", "argmin.default"),
    *("prod.default", "prod.dim_int", "any.default", "any.dim", "all.default", "all.dim", "logsumexp.default"),
    *("max.dim", "min.dim", "aminmax.default", "median.default"),
)
def _comparison(op: Op) -> Flow:
    return _reduce(op, frozen=True)


@rule("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default", "_safe_softmax.default")
@rule("cumsum.default", "roll.default")
def _along(op: Op) -> Flow:
    value = op.value("self")
    return op.kept(value, _axes(op.constant("dim", op.constant("dims", [])), len(value.shape)))


@rule("flip.default", "fliplr.default", "flipud.default")
def _flip(op: Op) -> Flow:
    value = op.value("self")
    sides = {"fliplr": 1, "flipud": 0}.get(op.name.split(".")[1], op.constant("dims"))
    return Value(op.shape, np.flip(value.labels, tuple(_axes(sides, len(value.shape)))))


@rule("glu.default")
def _glu(op: Op) -> Flow:
    value = op.value("self")
    axis = op.constant("dim", -1) % len(value.shape)
    if value.labels.shape[axis] == 1:
        return Value(op.shape, value.labels)
    half, gate = np.split(value.labels, 2, axis)
    op.ledger.tie(half, gate)
    op.ledger.pieces.append(half)
    return Value.of(op.shape, half)


@rule("tril.default", "triu.default", "diagonal.default")
def _of_matrices(op: Op) -> Flow:
    value = op.value("self")
    rank = len(value.shape)
    axes = [op.constant("dim1", 0) % rank, op.constant("dim2", 1) % rank] if "diag" in op.name else [rank - 2, rank - 1]
    labels = op.kept(value, axes).labels
    if "diag" in op.name:
        labels = np.expand_dims(labels.squeeze(tuple(axes)), rank - 2)
    return Value(op.shape, labels)


@rule("cosine_similarity.default")
def _similarity(op: Op) -> Flow:
    first, second = op.value("x1"), op.value("x2")
    rank = max(len(first.shape), len(second.shape))
    axis = op.constant("dim", 1) % rank
    longest = tuple(np.broadcast_shapes(first.shape, second.shape))
    return Value(op.shape, op.ledger.summed(meet(op.ledger, [first, second], longest), axis).labels.squeeze(axis))


def _axes(axes: int | list[int] | None, rank: int) -> list[int]:
    if axes is None or axes == []:
        return list(range(rank))
    return sorted(axis % rank for axis in ([axes] if isinstance(axes, int) else axes))


def _reduce(op: Op, *, frozen: bool) -> Flow:
    value = op.value("self")
    rank = len(value.shape)
    if rank == 0:
        return value
    axes = _axes(op.constant("dim"), rank)
    name = op.name.split(".")[1]
    if frozen:
        value = op.kept(value, axes)
    elif value.tracked and set(value.tracked) <= set(axes):
        if name in _STATISTICS:
            op.ledger.statistics.append(value.labels)
        value = Value.plain(value.shape)
    for axis in axes:
        value = op.ledger.tie_along(value, axis)
    labels = value.labels
    if not op.constant("keepdim", False):
        labels = labels.squeeze(tuple(axes))
    if op.makes_several:
        return tuple(Value(shape, labels) for shape in op.shapes)
    return Value(op.shape, labels)
