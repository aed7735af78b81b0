"""Products of two tensors, as equations over named axes: `ab,cb->ac` is a linear layer.

A weight hands the incoming labels to its input side, and its output gets fresh ones. Two activations are tied along the
axes that they share; where heads are tracked, whole heads go.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from worker.graph.propagation import CostTerm
from worker.graph.rules.layer import consume, note_layer
from worker.graph.rules.registry import Op
from worker.graph.values import Labels, Value, Weight

__all__ = ["Factor", "contract", "rearrange"]


@dataclass(frozen=True)
class Factor:
    """An operand with a letter for each of its axes, and the node that made it."""

    flow: Value | Weight
    letters: str
    source: str | None = None

    def over(self, letters: str) -> Labels:
        """Labels of an activation with its axes in the order of `letters`, of size 1 for those that it lacks. Of its
        other axes none is tracked."""
        assert isinstance(self.flow, Value)
        others = tuple(axis for axis, letter in enumerate(self.letters) if letter not in letters)
        labels, left = self.flow.labels.squeeze(others), [letter for letter in self.letters if letter in letters]
        labels = labels.transpose([left.index(letter) for letter in letters if letter in left])
        there = iter(labels.shape)
        return labels.reshape([next(there) if letter in left else 1 for letter in letters])


def contract(op: Op, first: Factor, second: Factor, out: str) -> Value:
    """Labels of the product: letters that `out` lacks are summed over. The cost is noted."""
    sizes: dict[str, int] = {}
    for factor in (first, second):
        for letter, size in zip(factor.letters, factor.flow.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    if isinstance(first.flow, Weight) and isinstance(second.flow, Value):
        first, second = second, first
    # A parameter that a weight is applied to serves as an activation.
    first = Factor(op.as_value(first.flow), first.letters, first.source)
    if isinstance(second.flow, Weight):
        return _with_weight(op, first, second.flow, second.letters, out, sizes)
    return _of_activations(op, first, second, out, sizes)


def rearrange(op: Op, factor: Factor, out: str) -> Value:
    """Labels of one operand whose axes are brought into the order of `out`; letters that it lacks are summed over."""
    value = op.as_value(factor.flow)
    for letter in factor.letters:
        if letter not in out:
            value = op.ledger.summed(value, factor.letters.index(letter))
    return _arranged(Factor(value, factor.letters), out, dict(zip(factor.letters, value.shape, strict=True)))


def _of_activations(op: Op, first: Factor, second: Factor, out: str, sizes: dict[str, int]) -> Value:
    ledger, letters = op.ledger, "".join(sizes)
    shape = tuple(sizes.values())
    values = [Value(shape, factor.over(letters)) for factor in (first, second)]
    shared = [
        axis
        for axis, letter in enumerate(letters)
        if all(letter in factor.letters and factor.flow.shape[factor.letters.index(letter)] > 1
               for factor in (first, second))
    ]  # fmt: skip
    meets = [set(value.tracked) & set(shared) for value in values]
    if not meets[0] & meets[1]:
        # What only one of them could lose along an axis that both have stays. Of rows and columns only rows can go.
        values = [op.kept(value, sorted(axes)) for value, axes in zip(values, meets, strict=True)]
        values[1] = op.kept(values[1], values[1].tracked if values[0].tracked else ())
    tracked = [value for value in values if not value.is_plain]
    merged = Value.plain(shape)
    if tracked:
        ledger.tie(tracked[0].labels, tracked[-1].labels)
        merged = Value(shape, np.minimum(*np.broadcast_arrays(tracked[0].labels, tracked[-1].labels)))
    factors = []
    summed = [axis for axis, letter in enumerate(letters) if letter not in out]
    if merged.tracked and set(merged.tracked) <= set(summed):
        factors.append(merged.labels.reshape(-1))
        merged = Value.plain(shape)
    for axis in summed:
        merged = ledger.tie_along(merged, axis)
    if merged.tracked:
        factors.append(merged.labels.reshape(-1))
    coefficient = prod(shape) / prod(len(labels) for labels in factors)
    ledger.costs.append(CostTerm(None, coefficient, tuple(factors)))
    return _arranged(Factor(merged, letters), out, sizes)


def _arranged(factor: Factor, out: str, sizes: dict[str, int]) -> Value:
    """Of a value with all letters, those of `out`. The others are not tracked."""
    assert isinstance(factor.flow, Value)
    summed = tuple(axis for axis, letter in enumerate(factor.letters) if letter not in out)
    left = "".join(letter for letter in factor.letters if letter in out)
    labels = factor.flow.labels.squeeze(summed).transpose([left.index(letter) for letter in out])
    return Value.of(tuple(sizes[letter] for letter in out), labels)


def _with_weight(op: Op, factor: Factor, weight: Weight, letters: str, out: str, sizes: dict[str, int]) -> Value:
    ledger = op.ledger
    value = _one_kind(op, factor, letters)
    tracked = [factor.letters[axis] for axis in value.tracked]
    inside = [letter for letter in tracked if letter in letters]
    summed = [letter for letter in letters if letter not in out]
    for position, letter in enumerate(letters):
        if letter in factor.letters and letter not in inside:
            ledger.hold(weight, position)
    labels = Factor(value, factor.letters).over(letters) if inside else None
    if labels is not None:
        ledger.claim(weight, labels)
    if factor.source is not None and len(summed) == 1 and summed[0] in factor.letters:
        consume(op, factor.source, factor.letters.index(summed[0]))
    new = [position for position, letter in enumerate(letters) if letter not in factor.letters]
    made = [position for position in new if weight.axes[position] is not None and letters[position] in out]
    mints = bool(made) and all(letter in summed for letter in tracked)
    channel = next((position for position in made if weight.shape[position] > 1), made[0]) if made else None
    for position in new:
        if not (mints and position == channel):
            ledger.hold(weight, position)
    if all(letter in summed for letter in tracked):
        value = Value.plain(value.shape)
    for letter in summed:
        if letter in factor.letters:
            value = ledger.tie_along(value, factor.letters.index(letter))
    everything = "".join(sizes)
    result = Value(tuple(sizes.values()), Factor(value, factor.letters).over(everything))
    if mints and channel is not None:
        outgoing = ledger.output_labels(weight, channel)
        result = Value.along(result.shape, everything.index(letters[channel]), outgoing)
    if channel is not None:
        note_layer(op, weight, channel)
    beside = None if mints or inside else result
    _note_cost(op, Factor(weight, letters), labels if len(inside) > 1 else None, beside, sizes)
    return _arranged(Factor(result, everything), out, sizes)


def _one_kind(op: Op, factor: Factor, letters: str) -> Value:
    """The activation, tracked along axes of one kind: summed over, shared with the weight, or unknown to it."""
    ledger, value = op.ledger, factor.flow
    assert isinstance(value, Value)
    if not value.tracked and value.labels.any():
        # One label for all entries: as a whole it could only vanish.
        ledger.pin(value.labels)
        return Value.plain(value.shape)
    outside = [axis for axis in value.tracked if factor.letters[axis] not in letters]
    if len(outside) < len(value.tracked):
        value = op.kept(value, outside)
    return value


def _note_cost(op: Op, factor: Factor, joint: Labels | None, beside: Value | None, sizes: dict[str, int]) -> None:
    """Multiply-accumulates: the product of all sizes. `joint` are labels of several axes of the weight together,
    `beside` is what passes by."""
    weight = factor.flow
    assert isinstance(weight, Weight)
    factors: list[tuple[str, int] | Labels] = []
    covered = 1
    for position, axis in enumerate(weight.axes):
        if axis is not None and (joint is None or joint.shape[position] == 1):
            factors.append((weight.name, axis))
            covered *= weight.shape[position]
    for labels in [joint, beside.labels if beside is not None and beside.tracked else None]:
        if labels is not None:
            factors.append(labels.reshape(-1))
            covered *= labels.size
    owner = weight.name if weight.name in op.ledger.layers else None
    op.ledger.costs.append(CostTerm(owner, prod(sizes.values()) / covered, tuple(factors)))
