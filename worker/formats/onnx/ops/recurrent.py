"""LSTM, GRU and RNN, on weights that `recurrent.unpacked` has brought into torch's order.

The planner hands over (node, X, sequence_lens, initial_h, initial_c, P, *weights).
"""

from typing import Any

import torch
from torch import Tensor

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import Value, tensor_op

__all__ = ["recurrent"]

_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@tensor_op("LSTM", "GRU", "RNN")
def recurrent(
    node: Node, x: Tensor, lengths: Value | None, hidden: Tensor | None, cell: Tensor | None, peepholes: Value | None,
    *weights: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    direction = node.text("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    _refuse_variants(node, lengths, peepholes)
    function = _function(node, directions)
    if node.integer("layout", 0):  # batch first
        x, hidden, cell = x.transpose(0, 1), _swapped(hidden), _swapped(cell)
    if direction == "reverse":
        x = x.flip(0)
    width = weights[1].shape[1]
    start = torch.zeros(directions, x.shape[1], width) if hidden is None else hidden
    states: Any = start
    if node.op_type == "LSTM":
        states = (start, torch.zeros(directions, x.shape[1], width) if cell is None else cell)
    has_biases = len(weights) == 4 * directions
    y, *ends = function(x, states, weights, has_biases, 1, 0.0, False, directions == 2, False)
    if direction == "reverse":
        y = y.flip(0)
    # (steps, batch, directions · hidden) to (steps, directions, batch, hidden)
    y = y.unsqueeze(1) if directions == 1 else y.unflatten(2, (directions, width)).transpose(1, 2)
    if node.integer("layout", 0):
        return y.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in ends)
    return y, *ends


def _swapped(state: Tensor | None) -> Tensor | None:
    return None if state is None else state.transpose(0, 1)


def _function(node: Node, directions: int) -> Any:
    found: Any = node.attributes.get("activations") or _ACTIVATIONS[node.op_type] * directions
    names = [str(name).lower() for name in found]
    if node.op_type == "RNN" and set(names) == {"relu"}:
        return torch.rnn_relu
    if names != [name.lower() for name in _ACTIVATIONS[node.op_type] * directions]:
        raise node.refuse(f"has the activations {names}; only the standard ones are supported")
    return {"LSTM": torch.lstm, "GRU": torch.gru, "RNN": torch.rnn_tanh}[node.op_type]


def _refuse_variants(node: Node, lengths: Value | None, peepholes: Value | None) -> None:
    if lengths is not None:
        raise node.refuse("reads texts of different lengths (sequence_lens); export without packed sequences")
    if peepholes is not None:
        raise node.refuse("has peephole connections, which torch does not know")
    if "clip" in node.attributes or node.integer("input_forget", 0):
        raise node.refuse("clips its cells or couples its gates, which torch does not know")
    if node.op_type == "GRU" and not node.integer("linear_before_reset", 0):
        raise node.refuse(
            "resets its state before multiplying it (linear_before_reset=0), which torch does not know. A GRU of torch "
            "is exported with 1; in Keras it is reset_after=True"
        )
