"""Normalisation: parameters follow the channels; statistics over channels change when channels go."""

from math import prod

from worker.graph.rules.convolution import prefers_whole_groups
from worker.graph.rules.meeting import adopt
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Labels, Value, Weight, count_kept


@rule("batch_norm.default", "instance_norm.default")
def _batch_norm(op: Op) -> Flow:
    labels = op.ledger.axis_labels(op.value("input"), 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _follow(op, name, labels)
    return Value.along(op.shape, 1, labels)


@rule("layer_norm.default", "rms_norm.default")
def _layer_norm(op: Op) -> Flow:
    """Over the last axes. Where heads are normalised one by one, they stay whole."""
    value, ledger = op.value("input"), op.ledger
    first = len(value.shape) - len(op.constant("normalized_shape"))
    if value.tracked and value.tracked[0] < first:
        value = op.kept(value, value.tracked[1:])
    elif value.tracked:
        ledger.statistics.append(value.labels)
    for name in ("weight", "bias"):
        flow = op.flow(name)
        if isinstance(flow, Weight):
            value = adopt(ledger, flow, value)
        elif flow is not None:
            return op.unknown("the scale of a norm is computed in the graph")
    return Value(op.shape, value.labels)


@rewrite("layer_norm.default", "rms_norm.default")
def _normalize_fewer(removal: Removal) -> None:
    value = removal.value("input")
    if value is not None:
        sizes = range(len(value.shape) - len(removal.arguments["normalized_shape"]), len(value.shape))
        removal.set("normalized_shape", [count_kept(value, axis, removal.keep) for axis in sizes])


@rule("group_norm.default")
def _group_norm(op: Op) -> Flow:
    value, groups = op.value("input"), op.constant("num_groups")
    labels = op.ledger.axis_labels(value, 1)
    rows = labels.reshape(groups, -1)
    if _gives_up_groups(groups, value.shape[1]):
        op.ledger.tie(rows, rows[:, :1])
    else:
        op.ledger.tie(rows, rows[:1])
        op.ledger.statistics.append(labels)
    for name in ("weight", "bias"):
        _follow(op, name, labels)
    return Value.along(op.shape, 1, labels)


@rewrite("group_norm.default")
def _fewer_norm_groups(removal: Removal) -> None:
    value, groups = removal.value("input"), removal.arguments["num_groups"]
    if value is not None and _gives_up_groups(groups, value.shape[1]):
        width = value.shape[1] // groups
        removal.set("num_groups", count_kept(value, 1, removal.keep) // width)


def _gives_up_groups(groups: int, channels: int) -> bool:
    return groups > 1 and prefers_whole_groups(groups, channels // groups)


def _follow(op: Op, name: str, labels: Labels) -> None:
    flow = op.flow(name)
    if isinstance(flow, Weight) and prod(flow.shape) == len(labels):
        op.ledger.claim_axis(flow, len(flow.shape) - 1, labels)
    elif flow is not None:
        op.ledger.pin(labels)
        op.as_value(flow)
