"""Recurrent layers: a hidden unit goes with the rows of all its gates, and with its column in what it feeds back.

A node is one layer, in one or both directions: `worker.graph.cleaning.recurrent` takes stacks apart.
"""

from dataclasses import dataclass

import numpy as np

from worker.graph.propagation import CostTerm
from worker.graph.rules.layer import consume, note_layer
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Labels, Value, Weight

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class _Direction:
    """(gates · hidden, inputs), (gates · hidden, hidden), and biases of (gates · hidden,)."""

    incoming: Weight
    recurrent: Weight
    biases: list[Weight]


@rule("lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input")
def _recurrent(op: Op) -> Flow:
    directions = _directions(op)
    if directions is None:
        return op.unknown("several layers in one call, or weights that are computed in the graph")
    ledger, value = op.ledger, op.value("input")
    labels = ledger.axis_labels(value, 2)
    consume(op, op.arguments["input"].name, 2)
    steps = value.shape[0] * value.shape[1]
    made = [_direction(op, direction, labels, steps) for direction in directions]
    # Both directions are one tensor of states.
    ledger.tie(made[0], made[-1])
    shapes, given = op.shapes, op.arguments["hx"]
    for node, shape in zip(given if isinstance(given, list) else [given], shapes[1:], strict=True):
        state, flow = Value.along(shape, 2, made[0]), op.flows.get(node)
        if isinstance(flow, Weight):
            adopt(ledger, flow, state)
        else:
            meet(ledger, [state, op.as_value(flow)], shape)
    ends = (Value.along(shape, 2, made[0]) for shape in shapes[1:])
    return (Value.along(shapes[0], 2, np.concatenate(made)), *ends)


def _directions(op: Op) -> list[_Direction] | None:
    flows = [op.flows.get(node) for node in op.arguments["params"]]
    weights = [flow for flow in flows if isinstance(flow, Weight) and None not in flow.axes]
    if op.constant("num_layers") != 1 or len(weights) < len(flows):
        return None
    each = len(weights) // (2 if op.constant("bidirectional") else 1)
    return [
        _Direction(own[0], own[1], own[2:])
        for own in (weights[start : start + each] for start in range(0, len(weights), each))
    ]


def _direction(op: Op, direction: _Direction, labels: Labels, steps: int) -> Labels:
    """Labels of the hidden units, which are the outputs."""
    ledger, incoming, recurrent = op.ledger, direction.incoming, direction.recurrent
    note_layer(op, incoming, 0)
    rows = ledger.output_labels(incoming, 0).reshape(_GATES[op.name.split(".")[1]], -1)
    ledger.tie(rows, rows[:1])
    hidden: Labels = rows[0]
    ledger.claim_axis(incoming, 1, labels)
    ledger.claim_axis(recurrent, 1, hidden)
    for follower in (recurrent, *direction.biases):
        ledger.claim_axis(follower, 0, rows.reshape(-1))
    for weight in (incoming, recurrent):
        ledger.costs.append(CostTerm(incoming.name, steps, ((weight.name, 0), (weight.name, 1))))
    for weight in (recurrent, *direction.biases):
        ledger.biases.setdefault(weight.name, incoming.name)
    return hidden
