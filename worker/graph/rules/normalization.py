"""Normalisation: parameters follow the channels; statistics over channels change when channels go."""

from math import prod

import numpy as np

from worker.graph.rules.contraction import prefers_whole_groups
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Value, Weight, count_kept


@rule("batch_norm.default", "instance_norm.default")
def _batch_norm(op: Op) -> Flow:
    value = op.value("input")
    labels = op.ledger.axis_labels(value, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        _follow(op, name, labels)
    return Value.along(op.shape, 1, labels)


@rule("layer_norm.default", "rms_norm.default")
def _layer_norm(op: Op) -> Flow:
    value = op.value("input")
    normalized = op.constant("normalized_shape")
    last = len(value.shape) - 1
    if len(normalized) != 1:
        return op.unknown("layer_norm over several axes has no rule yet")
    labels = op.ledger.axis_labels(value, last)
    for name in ("weight", "bias"):
        _follow(op, name, labels)
    op.ledger.statistics.append(labels)
    return Value.along(op.shape, last, labels)


@rewrite("layer_norm.default", "rms_norm.default")
def _normalize_fewer(removal: Removal) -> None:
    value = removal.value("input")
    if value is not None:
        removal.set("normalized_shape", [count_kept(value, len(value.shape) - 1, removal.keep)])


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


def _follow(op: Op, name: str, labels: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> None:
    flow = op.flow(name)
    if isinstance(flow, Weight) and prod(flow.shape) == len(labels):
        op.ledger.claim_axis(flow, len(flow.shape) - 1, labels)
    elif flow is not None:
        op.ledger.pin(labels)
        op.as_value(flow)
