"""Multiply-accumulates and parameters as polynomials in the number of channels that each group keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

__all__ = ["Cost", "CostModel", "Counts", "Polynomial", "Slot", "Term", "parameter_terms"]

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one sample, and number of trainable values."""

    macs: float
    params: float


@dataclass(frozen=True)
class Slot:
    """Entries that shrink: axis `axis` of a parameter, several of its axes together (`axis` is None), or entries of a
    value (`parameter` is None). `numbers[i]` is the component of entry i, 0 where it stays."""

    parameter: str | None
    axis: int | None
    numbers: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Term:
    """`coefficient · Π kept(slot)`, owned by a layer (its index) or by none (-1)."""

    coefficient: float
    slots: tuple[int, ...]
    layer: int


@dataclass(frozen=True)
class CostModel:
    """Exact cost of any selection. `per_group[s, g]` entries of slot s go with each channel of group g; a slot has few
    groups, however many the network has.

    `tensors` are the entries of every parameter and buffer: its terms are owned by positions among `tensor_names`.
    `nodes` are the calls of the graph.
    """

    base: Counts
    per_group: csr_array
    macs: "Polynomial"
    params: "Polynomial"
    tensors: "Polynomial"
    tensor_names: tuple[str, ...]
    nodes: "Polynomial"

    def counts(self, kept: Counts) -> Counts:
        """Kept entries per slot, (…, slots), for kept channels per group, (…, groups)."""
        return np.asarray(self.base + (self.per_group @ kept.T).T)

    def groups_of(self, slot: int) -> tuple[npt.NDArray[np.intp], Counts]:
        """The groups that slot `slot` has entries of, and how many for each of their channels."""
        there = slice(*self.per_group.indptr[slot : slot + 2])
        return self.per_group.indices[there], self.per_group.data[there]

    def evaluate(self, kept: Counts) -> tuple[Counts, Counts]:
        """(MACs, parameters) for kept channels per group, (…, groups)."""
        counts = self.counts(kept)
        return self.macs.total(counts), self.params.total(counts)


@dataclass(frozen=True)
class Polynomial:
    """A sum of terms. Missing factors point at one slot more, whose count is 1."""

    coefficients: Counts
    factors: npt.NDArray[np.intp]
    layers: npt.NDArray[np.intp]

    @classmethod
    def of(cls, terms: Sequence[Term], slots: int) -> "Polynomial":
        degree = max((len(term.slots) for term in terms), default=1)
        padded = [term.slots + (slots,) * (degree - len(term.slots)) for term in terms]
        return cls(
            np.array([term.coefficient for term in terms], dtype=np.float64),
            np.array(padded, dtype=np.intp).reshape(len(terms), degree),
            np.array([term.layer for term in terms], dtype=np.intp),
        )

    def terms(self, counts: Counts) -> Counts:
        """Value of each term, (…, terms)."""
        one = np.ones((*counts.shape[:-1], 1))
        return np.asarray(self.coefficients * np.concatenate([counts, one], -1)[..., self.factors].prod(-1))

    def total(self, counts: Counts) -> Counts:
        return np.asarray(self.terms(counts).sum(-1))

    def gradient(self, counts: Counts) -> Counts:
        """(slots,): what one entry more of each slot would cost, at `counts` (slots,)."""
        values = np.append(counts, 1.0)[self.factors]
        gradient = np.zeros(len(counts) + 1)
        for position in range(self.factors.shape[1]):
            others = np.delete(values, position, axis=1).prod(1)
            np.add.at(gradient, self.factors[:, position], self.coefficients * others)
        return gradient[:-1]

    def by_layer(self, counts: Counts, layers: int) -> Counts:
        """(layers,): the terms of each layer."""
        owned = self.layers >= 0
        return np.bincount(self.layers[owned], self.terms(counts)[owned], minlength=layers).astype(np.float64)


def parameter_terms(
    sizes: Mapping[str, int], slots: Sequence[Slot], owner: Mapping[str, int], axes: Mapping[int, frozenset[int]]
) -> list[Term]:
    """One term per parameter: its size, with the axes that can shrink taken out as factors.

    `axes[s]` are the axes that slot s covers; where slots overlap the wider one counts.
    """
    by_parameter: dict[str, list[int]] = {name: [] for name in sizes}
    for index, slot in enumerate(slots):
        if slot.parameter in by_parameter:
            by_parameter[slot.parameter].append(index)
    terms = []
    for name, size in sizes.items():
        covered: set[int] = set()
        factors: list[int] = []
        for index in sorted(by_parameter[name], key=lambda candidate: -len(axes[candidate])):
            if not covered & axes[index]:
                covered |= axes[index]
                factors.append(index)
        coefficient = size / prod(len(slots[index].numbers) for index in factors)
        terms.append(Term(coefficient, tuple(factors), owner.get(name, -1)))
    return terms
