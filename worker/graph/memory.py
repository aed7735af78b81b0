"""How much memory the activations of one sample need at most, for any selection."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from worker.graph.cost import Counts
from worker.graph.folding import foldable_norms
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Structure
from worker.graph.values import Flow, Labels, Value, Weight

__all__ = ["ActivationMemory", "activation_memory"]

_PARAMETER = -1
# States that are evaluated at once: a matrix of states and values is made.
_AT_ONCE = 64


@dataclass(frozen=True)
class _Spans:
    """When each storage is alive, as positions of nodes, (storages,); `first` after `last` where it never is."""

    first: npt.NDArray[np.intp]
    last: npt.NDArray[np.intp]


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes of every *storage*, which a tensor and its views share, as linear functions of kept channels:
    `base + per_group @ kept`, (storages,) and (storages, groups).

    A storage is alive from the node that makes it to the last that reads it or a view of it. Inputs are alive from the
    start, outputs to the end. Parameters do not count. `held` are the storages of each node, by its name.
    """

    structure: Structure
    base: Counts
    per_group: Counts
    held: dict[str, tuple[int, ...]]
    _spans: dict[bytes, _Spans] = field(default_factory=dict, repr=False)

    def of(self, kept: Counts) -> Counts:
        """Peak in bytes for kept channels per group, (…, groups). Linear in nodes for each state."""
        states = kept.reshape(prod(kept.shape[:-1]), kept.shape[-1])
        peaks = np.zeros(len(states))
        for start in range(0, len(states), _AT_ONCE):
            some = states[start : start + _AT_ONCE]
            blocks = self._blocks(some)
            for present in np.unique(blocks, axis=0):
                alike = np.flatnonzero((blocks == present).all(1))
                peaks[start + alike] = self._timeline(some[alike]).max(-1, initial=0.0)
        return np.asarray(peaks.reshape(kept.shape[:-1]))

    def saved(self, kept: Counts, more: Counts, less: Counts) -> Counts:
        """(groups,): what is saved where each group alone goes from `more` to `less`, near `kept`; to first order, but
        exactly for blocks."""
        spans = self._alive(self._blocks(kept[None])[0])
        peak = int(self._timeline(kept[None])[0].argmax())
        alive = (spans.first <= peak) & (peak <= spans.last)
        saved = np.asarray((more - less) * self.per_group[alive].sum(0))
        count = len(self.structure.blocks)
        changed = [index for index in range(len(kept) - count, len(kept)) if more[index] > less[index]]
        if changed:
            states = np.repeat(kept[None], 2 * len(changed), axis=0)
            for row, index in enumerate(changed):
                states[2 * row, index], states[2 * row + 1, index] = more[index], less[index]
            peaks = self.of(states)
            saved[changed] = peaks[::2] - peaks[1::2]
        return saved

    def _blocks(self, states: Counts) -> npt.NDArray[np.bool_]:
        return np.asarray(states[:, states.shape[1] - len(self.structure.blocks) :] > 0)

    def _timeline(self, states: Counts) -> Counts:
        """(states, nodes): bytes alive while each node runs. All states have the same blocks."""
        spans = self._alive(self._blocks(states)[0])
        there = spans.first <= spans.last
        sizes = (self.base + states @ self.per_group.T)[:, there].T
        change = np.zeros((len(self.held) + 1, len(states)))
        np.add.at(change, spans.first[there], sizes)
        np.add.at(change, spans.last[there] + 1, -sizes)
        return np.asarray(change.cumsum(0)[:-1].T)

    def _alive(self, blocks: npt.NDArray[np.bool_]) -> _Spans:
        key = blocks.tobytes()
        if key not in self._spans:
            self._spans[key] = self._find_spans(blocks)
        return self._spans[key]

    def _find_spans(self, blocks: npt.NDArray[np.bool_]) -> _Spans:
        structure, held = self.structure, self.held
        selection = structure.everything()
        for block, present in zip(structure.blocks, blocks, strict=True):
            selection[block.component] = present
        # A sum that is left out is read as its skip, and so are its views.
        stand_ins = structure.stand_ins(selection)
        stands_for: dict[int, int] = {}
        for add, skip in stand_ins.items():
            stands_for |= dict(zip(held[add], held[skip], strict=True))
        end = len(held) - 1
        first, last = np.full(len(self.base), end + 1), np.full(len(self.base), -1)
        for position, node in enumerate(structure.graph.nodes):
            if node.name in stand_ins or not structure.liveness.keeps_node(node.name, blocks):
                continue
            for storage in _storages(held[node.name], stands_for):
                first[storage] = min(first[storage], 0 if node.op == "placeholder" else position)
                last[storage] = max(last[storage], position)
            for source in node.all_input_nodes:
                for storage in _storages(held[source.name], stands_for):
                    last[storage] = position
        return _Spans(first, last)


def _storages(held: Iterable[int], stands_for: dict[int, int]) -> Iterator[int]:
    for storage in held:
        if storage != _PARAMETER:
            yield stands_for.get(storage, storage)


def activation_memory(network: Network, structure: Structure) -> ActivationMemory:
    """The memory of what any selection leaves of `network`, which `structure` is the analysis of. Runs it once.

    Batch norms that the export folds into the layer before them make no value of their own.
    """
    tracer = _Tracer(network, {node.name for node in foldable_norms(network)})
    with torch.no_grad():
        tracer.run(*example_inputs(network))
    base, per_group = np.zeros(len(tracer.made)), np.zeros((len(tracer.made), len(structure.groups)))
    sizes = np.array([group.channels for group in structure.groups], dtype=np.float64)
    for storage, made in enumerate(tracer.made):
        labels = _labels(_item(structure.flows.get(made.node), made.item), structure)
        groups = structure.group_of[labels.reshape(-1)]
        removable = np.bincount(groups[groups >= 0], minlength=len(sizes)) / labels.size
        per_group[storage] = made.bytes * removable / np.maximum(sizes, 1.0)
        base[storage] = made.bytes - per_group[storage] @ sizes
    return ActivationMemory(structure, base, per_group, {name: tuple(ids) for name, ids in tracer.held.items()})


@dataclass(frozen=True)
class _Made:
    """A storage, made as item `item` of what the node `node` returns."""

    node: str
    item: int
    bytes: int


class _Tracer(fx.Interpreter):
    """Runs the graph and notes which storage each result lies in."""

    def __init__(self, network: Network, transparent: set[str]) -> None:
        super().__init__(network.module)
        self._transparent = transparent
        self.held: dict[str, list[int]] = {}
        self.made: list[_Made] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        tensors = list(_tensors(result))
        if n.op == "get_attr":
            self.held[n.name] = [_PARAMETER] * len(tensors)
        elif n.op == "output":
            self.held[n.name] = [storage for source in n.all_input_nodes for storage in self.held[source.name]]
        elif n.name in self._transparent:
            self.held[n.name] = self.held[n.all_input_nodes[0].name]
        else:
            self.held[n.name] = self._find(n, tensors)
        return result

    def _find(self, n: fx.Node, tensors: list[Tensor]) -> list[int]:
        """What lies where an argument lies is a view of it; all else is new."""
        known = {
            tensor.untyped_storage().data_ptr(): storage
            for source in n.all_input_nodes
            for tensor, storage in zip(_tensors(self.env[source]), self.held[source.name], strict=True)
        }
        found = []
        for item, tensor in enumerate(tensors):
            where = tensor.untyped_storage().data_ptr()
            if where not in known or not where:
                known[where] = len(self.made)
                self.made.append(_Made(n.name, item, tensor.untyped_storage().nbytes()))
            found.append(known[where])
        return found


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for item in result:
            yield from _tensors(item)


def _labels(flow: Flow, structure: Structure) -> Labels:
    """Labels whose share that is kept is the share of the tensor that is kept. What is made of a parameter alone counts
    along one axis only, and as whole where it is not known, so that it is rather over- than underestimated."""
    if isinstance(flow, Value):
        return flow.labels
    found = [np.zeros(1, dtype=np.int64)]
    if isinstance(flow, Weight):
        for claimed in structure.claims.get(flow.name, ()):
            axes = [axis for axis, size in enumerate(claimed.shape) if size > 1]
            if len(axes) == 1 and axes[0] in flow.axes:
                found.append(claimed.reshape(-1))
    return max(found, key=lambda labels: float((labels > 0).mean()))


def _item(flow: Flow, item: int) -> Flow:
    if not isinstance(flow, tuple):
        return flow
    return flow[item] if item < len(flow) else None
