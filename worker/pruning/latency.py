"""Predicted time of any selection, from a table of each layer's times at a grid of widths."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.export.kernels import Kernel, time_kernels
from worker.graph.cost import Counts
from worker.graph.liveness import ALWAYS
from worker.graph.memory import ActivationMemory
from worker.graph.structure import Structure
from worker.pruning.widths import Count, WideLayer, wide_layers

__all__ = ["LayerTimes", "layer_times"]

# ONNX Runtime computes in blocks of channels, and time is a step function of their number.
_BLOCK = 8
# Up to so many blocks each is timed, and of wider layers these shares of them; between them lies a straight line.
_EVERY_BLOCK = 4
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Layers take at most this much of the measured time of the whole; alone they find warmer caches or more rivals.
_MOST_OF_ALL = 0.95


Blocks = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Table:
    """`times[i, o]`: milliseconds with `incoming[i]` and `outgoing[o]` blocks of channels, never falling."""

    incoming: Blocks
    outgoing: Blocks
    times: Counts

    def __call__(self, incoming: Counts, outgoing: Counts) -> Counts:
        """(…): milliseconds for numbers of channels, (…) each; bilinear between the points of the grid."""
        i, i_next, i_part = _between(self.incoming, incoming)
        o, o_next, o_part = _between(self.outgoing, outgoing)
        low = self.times[i, o] * (1 - o_part) + self.times[i, o_next] * o_part
        high = self.times[i_next, o] * (1 - o_part) + self.times[i_next, o_next] * o_part
        return np.asarray(low * (1 - i_part) + high * i_part)


def _between(grid: Blocks, channels: Counts) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Counts]:
    blocks = np.ceil(np.round(channels, 6) / _BLOCK)
    position = np.interp(blocks, grid, np.arange(len(grid)))
    below = position.astype(np.intp)
    return below, np.minimum(below + 1, len(grid) - 1), position - below


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of one sample on one thread: `scale` times the sum of the tables of all layers, and `rest`, which
    goes with the bytes of all activations and the number of calls."""

    structure: Structure
    layers: tuple[tuple[WideLayer, _Table], ...]
    memory: ActivationMemory
    scale: float = 1.0
    rest: float = 0.0

    def of(self, kept: Counts) -> Counts:
        total = self.rest * self._other(kept)
        for layer, table in self.layers:
            total = total + self.scale * self._time(layer, table, kept)
        return np.asarray(total)

    def saved(self, kept: Counts, more: Counts, less: Counts) -> Counts:
        saved = np.zeros(len(kept))
        changed = np.flatnonzero(more > less)
        states = [np.repeat(kept[None], len(changed), axis=0) for _ in range(2)]
        for state, counts in zip(states, (more, less), strict=True):
            state[np.arange(len(changed)), changed] = counts[changed]
        saved[changed] = self.rest * (self._other(states[0]) - self._other(states[1]))
        first_block = len(kept) - len(self.structure.blocks)
        for layer, table in self.layers:
            # What does not touch the layer saves nothing of it.
            touched = (layer.incoming.per_group > 0) | (layer.outgoing.per_group > 0)
            touched[[first_block + block for way in layer.needs for block in way]] = True
            rows = np.flatnonzero(touched[changed])
            if len(rows):
                before, after = (self._time(layer, table, state[rows]) for state in states)
                saved[changed[rows]] += self.scale * (before - after)
        return saved

    def _time(self, layer: WideLayer, table: _Table, kept: Counts) -> Counts:
        return self._present(layer, kept) * table(layer.incoming.of(kept), layer.outgoing.of(kept))

    def _present(self, layer: WideLayer, kept: Counts) -> Counts:
        """(…): 1 where the layer is there, and 0 where its block is left out."""
        if layer.needs == ALWAYS:
            return np.ones(kept.shape[:-1])
        first = kept.shape[-1] - len(self.structure.blocks)
        ways = [(kept[..., [first + block for block in way]] > 0).all(-1) for way in layer.needs]
        return np.asarray(np.any(ways, axis=0), dtype=np.float64)

    def _other(self, kept: Counts) -> Counts:
        """(…): share of what is no layer that is left."""
        model, memory = self.structure.model, self.memory
        whole = self.structure.kept_channels(self.structure.everything())
        moved = memory.base.sum() + kept @ memory.per_group.sum(0)
        calls = model.nodes.total(model.counts(kept)) / model.nodes.total(model.counts(whole))
        return np.asarray(moved / (memory.base.sum() + whole @ memory.per_group.sum(0)) * calls)


def layer_times(structure: Structure, memory: ActivationMemory, dense_ms: float) -> LayerTimes:
    """Time every layer of the network at a grid of widths, each kind of layer once. The whole takes `dense_ms`, and
    what its layers do not take, or cannot be timed alone, is the rest."""
    layers = list(wide_layers(structure))
    grids = [(_grid(layer.incoming), _grid(layer.outgoing)) for layer in layers]
    wanted = {
        kernel: None
        for layer, grid in zip(layers, grids, strict=True)
        for row in _kernels(layer, grid[0], grid[1])
        for kernel in row
    }
    times = dict(zip(wanted, time_kernels(list(wanted)), strict=True))
    tables = []
    for layer, (incoming, outgoing) in zip(layers, grids, strict=True):
        found = np.array([[times[kernel] for kernel in row] for row in _kernels(layer, incoming, outgoing)])
        if not np.isnan(found).any():
            rising = np.maximum.accumulate(np.maximum.accumulate(found, 0), 1)
            tables.append((layer, _Table(incoming, outgoing, rising)))
    whole = structure.kept_channels(structure.everything())
    alone = LayerTimes(structure, tuple(tables), memory)
    total = float(alone.of(whole))
    scale = min(1.0, _MOST_OF_ALL * dense_ms / total) if total else 1.0
    return LayerTimes(structure, alone.layers, memory, scale, dense_ms - scale * total)


def _grid(count: Count) -> Blocks:
    """Numbers of blocks at which to time, ascending."""
    most = -(-count.most // _BLOCK)
    if not count.varies:
        return np.array([most])
    if most <= _EVERY_BLOCK:
        return np.arange(1, most + 1)
    return np.unique([max(1, round(share * most)) for share in _SHARES])


def _kernels(layer: WideLayer, incoming: Blocks, outgoing: Blocks) -> list[list[Kernel]]:
    return [
        [
            layer.at(min(int(i) * _BLOCK, layer.incoming.most), min(int(o) * _BLOCK, layer.outgoing.most))
            for o in outgoing
        ]
        for i in incoming
    ]
