"""Weights of LSTM, GRU and RNN nodes, from ONNX's packed matrices to those that torch keeps for each direction.

ONNX packs all directions into W (directions, gates · hidden, inputs), R (directions, gates · hidden, hidden) and
B (directions, 2 · gates · hidden), with the gates of an LSTM as input, output, forget, cell and those of a GRU as
update, reset, hidden. torch has them as input, forget, cell, output and as reset, update, new.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.formats.onnx.node import Node

__all__ = ["GATE_ORDER", "unpacked"]

GATE_ORDER: dict[str, tuple[int, ...]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where each of torch's gates stands among those of ONNX."""

Array = npt.NDArray[Any]


def unpacked(node: Node, arrays: tuple[Array, Array, Array | None]) -> Iterator[tuple[str, Array]]:
    """The weights of `node` in the order in which torch takes them, with the names that torch gives them.

    `arrays` are W, R and B. Raises MalformedModel for shapes that do not fit each other.
    """
    incoming, recurrent, bias = arrays
    gates = GATE_ORDER[node.op_type]
    directions = 2 if node.text("direction", "forward") == "bidirectional" else 1
    hidden = recurrent.shape[-1] if recurrent.ndim else 0
    rows = len(gates) * hidden
    fits = (
        incoming.ndim == 3
        and incoming.shape[:2] == (directions, rows)
        and recurrent.shape == (directions, rows, hidden)
        and (bias is None or bias.shape == (directions, 2 * rows))
        and node.integer("hidden_size", hidden) == hidden
    )
    if not fits:
        shapes = [list(array.shape) for array in (incoming, recurrent, bias) if array is not None]
        raise node.broken(f"has weights of the shapes {shapes} for {directions} directions")
    for direction in range(directions):
        suffix = "_reverse" if direction else ""
        yield f"weight_ih_l0{suffix}", _reordered(incoming[direction], gates)
        yield f"weight_hh_l0{suffix}", _reordered(recurrent[direction], gates)
        if bias is not None:
            yield f"bias_ih_l0{suffix}", _reordered(bias[direction, :rows], gates)
            yield f"bias_hh_l0{suffix}", _reordered(bias[direction, rows:], gates)


def _reordered(array: Array, gates: tuple[int, ...]) -> Array:
    parts = np.split(array, len(gates))
    return np.concatenate([parts[gate] for gate in gates])
