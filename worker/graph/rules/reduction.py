"""Ops that summarise an axis. Sums and means work on fewer entries; what compares entries keeps its axis."""

from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value

_STATISTICS = frozenset({"mean", "var", "std", "var_mean"})


@rule(
    *("mean.default", "mean.dim", "sum.default", "sum.dim_IntList", "linalg_vector_norm.default"),
    *("var.default", "var.dim", "var.correction", "std.default", "std.dim", "std.correction"),
    *("var_mean.dim", "var_mean.correction", "norm.ScalarOpt_dim"),
)
def _summary(op: Op) -> Flow:
    return _reduce(op, frozen=False)


@rule(
    *("amax.default", "amin.default", "max.default", "min.default", "argmax.default", "argmin.default"),
    *("prod.default", "prod.dim_int", "any.default", "any.dim", "all.default", "all.dim", "logsumexp.default"),
    *("max.dim", "min.dim"),
)
def _comparison(op: Op) -> Flow:
    return _reduce(op, frozen=True)


@rule("softmax.int", "_softmax.default", "log_softmax.int", "_log_softmax.default", "_safe_softmax.default")
def _softmax(op: Op) -> Flow:
    value = op.value("self")
    if not value.shape:
        return value
    return op.ledger.freeze(value, op.constant("dim") % len(value.shape))


@rule("cumsum.default", "flip.default", "roll.default")
def _along(op: Op) -> Flow:
    value = op.value("self")
    axes = op.constant("dim", op.constant("dims", []))
    for axis in _axes(axes, len(value.shape)):
        value = op.ledger.freeze(value, axis)
    return value


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
    for axis in axes:
        if name in _STATISTICS and value.labels.shape[axis] > 1:
            op.ledger.statistics.append(value.labels)
        value = op.ledger.freeze(value, axis) if frozen else op.ledger.summed(value, axis)
    labels = value.labels
    if not op.constant("keepdim", False):
        labels = labels.squeeze(tuple(axes))
    if op.makes_several:
        return tuple(Value(shape, labels) for shape in op.shapes)
    return Value(op.shape, labels)
