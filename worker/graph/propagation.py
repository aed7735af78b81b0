"""The ledger of a label propagation: labels minted, ties found, parameters claimed, costs and blocks noted.

Rules write into it; `worker.graph.components` reads it.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from worker.graph.values import Labels, Value, Weight

__all__ = ["Block", "Consumer", "CostTerm", "Propagation"]


@dataclass(frozen=True)
class CostTerm:
    """Multiply-accumulates of one op: `coefficient · Π (kept entries of factor)`, for one pass of the example.

    A factor is an axis of a parameter, by its name and position, or labels of a value.
    """

    layer: str | None
    coefficient: float
    factors: tuple[tuple[str, int] | Labels, ...]


@dataclass(frozen=True)
class Consumer:
    """A node that sums over the channels of `source`, which lie along `axis`."""

    node: str
    source: str
    axis: int


@dataclass(frozen=True)
class Block:
    """An op that pins what it touches: labels, and parameters whose channels have none yet."""

    op: str
    labels: Labels
    why: str
    weights: tuple[str, ...] = ()


@dataclass
class Propagation:
    """What the rules have found so far. Label 0 means: stays."""

    labels: int = 0
    ties: list[tuple[Labels, Labels]] = field(default_factory=list)
    claims: dict[str, list[Labels]] = field(default_factory=lambda: defaultdict(list))
    """Labels of parameters by name, one axis per axis of the parameter, of size 1 where the claim says nothing."""
    minted: list[tuple[int, int, str]] = field(default_factory=list)
    """(first label, label after the last, parameter) of every weight that makes channels."""
    layers: dict[str, str] = field(default_factory=dict)
    """Op of every layer, by the name of its weight, in graph order."""
    biases: dict[str, str] = field(default_factory=dict)
    """Weight by the name of the bias added to its output."""
    output_axes: dict[str, int] = field(default_factory=dict)
    """Axis of the output channels, by the name of the weight."""
    costs: list[CostTerm] = field(default_factory=list)
    cost_nodes: list[str] = field(default_factory=list)
    """The node of each of `costs`."""
    consumers: list[Consumer] = field(default_factory=list)
    pieces: list[Labels] = field(default_factory=list)
    """Parts cut out of a value, none of which may become empty."""
    stretched: dict[tuple[str, int], list[Labels]] = field(default_factory=lambda: defaultdict(list))
    """Labels, (size,), that an elastic axis has met, by its origin."""
    statistics: list[Labels] = field(default_factory=list)
    """Labels over which a mean or a variance runs: removing them changes it for those that stay."""
    blocks: list[Block] = field(default_factory=list)

    def mint(self, count: int, weight: str | None = None) -> Labels:
        """`count` fresh labels."""
        first = self.labels + 1
        self.labels += count
        if weight is not None:
            self.minted.append((first, first + count, weight))
        return np.arange(first, first + count, dtype=np.int64)

    def tie(self, first: Labels, second: Labels) -> None:
        """What meets at the same position (after broadcasting) goes together; a tie to 0 pins."""
        if first is second:
            return
        if first.shape != second.shape:
            first, second = np.broadcast_arrays(first, second)
        differs = first != second
        if differs.any():
            self.ties.append((first[differs], second[differs]))

    def pin(self, labels: Labels) -> None:
        self.tie(labels, np.zeros(1, dtype=np.int64).reshape((1,) * labels.ndim))

    def tie_along(self, value: Value, axis: int) -> Value:
        """All entries along `axis` go together: only other axes can shrink. The value, no longer tracked there."""
        if value.labels.shape[axis] == 1:
            return value
        first = value.labels.take([0], axis)
        self.tie(value.labels, first)
        return Value(value.shape, first)

    def summed(self, value: Value, axis: int) -> Value:
        """What is left of the labels once `axis` is summed over: nothing where only it is tracked."""
        return Value.plain(value.shape) if value.tracked == [axis] else self.tie_along(value, axis)

    def freeze(self, value: Value, axis: int) -> Value:
        """`axis` keeps its size. Where nothing but this axis is tracked that pins everything."""
        if value.labels.shape[axis] == 1:
            return value
        if value.tracked == [axis]:
            self.pin(value.labels)
            return Value.plain(value.shape)
        return self.tie_along(value, axis)

    def axis_labels(self, value: Value, axis: int) -> Labels:
        """Labels along one axis, (size,), after every other axis is frozen. All 0 where nothing can be removed."""
        for other in value.tracked:
            if other != axis:
                value = self.freeze(value, other)
        labels = value.labels.reshape(-1)
        if value.labels.shape[axis] == 1 and labels.any():
            # One label for several entries: as a whole it could only vanish.
            self.pin(labels)
            labels = np.zeros(1, dtype=np.int64)
        return np.broadcast_to(labels, (value.shape[axis],))

    def claim(self, weight: Weight, labels: Labels) -> None:
        """The parameter shrinks with `labels`, given in the axes of the value, of size 1 where nothing is said."""
        known = self.claims[weight.name]
        if weight.axes == tuple(range(labels.ndim)) and (not known or known[0].ndim == labels.ndim):
            self._record(weight.name, labels)
            return
        rank = 1 + max((axis for axis in weight.axes if axis is not None), default=-1)
        rank = max(rank, max((claimed.ndim for claimed in known), default=0))
        for position, axis in enumerate(weight.axes):
            if axis is None and labels.shape[position] > 1:
                self.tie(labels, labels.take([0], position))
                labels = labels.take([0], position)
        order = [position for position, axis in enumerate(weight.axes) if axis is not None]
        kept_axes = [axis for axis in weight.axes if axis is not None]
        shape = [1] * rank
        for position, axis in zip(order, kept_axes, strict=True):
            shape[axis] = labels.shape[position]
        dropped = [position for position, axis in enumerate(weight.axes) if axis is None]
        compact = labels.squeeze(axis=tuple(dropped)) if dropped else labels
        sorted_labels = compact.transpose(list(np.argsort(np.asarray(kept_axes, dtype=np.intp)))) if order else compact
        self._record(weight.name, sorted_labels.reshape(shape))

    def claim_axis(self, weight: Weight, position: int, labels: Labels) -> None:
        """The parameter shrinks with `labels`, (size,), along axis `position` of the value."""
        shape = [1] * len(weight.shape)
        shape[position] = len(labels)
        self.claim(weight, labels.reshape(shape))

    def pin_weight(self, weight: Weight) -> None:
        """The parameter stays as it is."""
        for position in range(len(weight.shape)):
            self.hold(weight, position)

    def hold(self, weight: Weight, position: int) -> None:
        """The parameter keeps its size along axis `position` of the value."""
        if weight.axes[position] is not None:
            self.claim_axis(weight, position, np.zeros(weight.shape[position], dtype=np.int64))

    def stretch(self, value: Value, axis: int, labels: Labels) -> None:
        """An elastic axis follows `labels`, (size,)."""
        for origin in value.elastic[axis]:
            self.stretched[origin].append(labels)

    def output_labels(self, weight: Weight, position: int) -> Labels:
        """Labels of the channels that `weight` makes along axis `position`: fresh ones at its first use."""
        size, axis = weight.shape[position], weight.axes[position]
        for claimed in self.claims[weight.name]:
            if axis is not None and claimed.shape[axis] == size and claimed.size == size:
                return claimed.reshape(-1)
        # An axis of one channel could only vanish.
        labels = self.mint(size, weight.name) if size > 1 else np.zeros(1, dtype=np.int64)
        self.claim_axis(weight, position, labels)
        return labels

    def _record(self, name: str, labels: Labels) -> None:
        known, tracked = self.claims[name], _tracked(labels)
        before = [_tracked(other) for other in known]
        for other, axes in zip(known, before, strict=True):
            if not set(axes).isdisjoint(tracked):
                self.tie(other, labels)
        if tracked and tracked not in before:
            known.append(labels)


def _tracked(labels: Labels) -> list[int]:
    return [axis for axis, size in enumerate(labels.shape) if size > 1]
