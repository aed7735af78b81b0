"""What a candidate costs, in the unit of a target."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worker.graph.cost import CostModel, Counts, Polynomial

__all__ = ["Measure", "Offset", "Scaled", "Summed"]


class Measure(Protocol):
    """A cost that falls with what is kept."""

    def of(self, kept: Counts, /) -> Counts:
        """The cost for kept channels per group, (…, groups)."""

    def saved(self, kept: Counts, more: Counts, less: Counts, /) -> Counts:
        """(groups,): what is saved, to first order, where each group alone goes from `more` to `less` channels, near
        `kept`. All are (groups,)."""


@dataclass(frozen=True)
class Summed:
    """A sum of polynomials, each times a weight."""

    model: CostModel
    parts: tuple[tuple[float, Polynomial], ...]

    def of(self, kept: Counts) -> Counts:
        counts = self.model.counts(kept)
        return np.asarray(sum(weight * polynomial.total(counts) for weight, polynomial in self.parts))

    def saved(self, kept: Counts, more: Counts, less: Counts) -> Counts:
        counts = self.model.counts(kept)
        slope = np.asarray(sum(weight * polynomial.gradient(counts) for weight, polynomial in self.parts))
        return np.asarray((more - less) * (slope @ self.model.per_group))


@dataclass(frozen=True)
class Offset:
    """A measure that was found to be wrong by a constant."""

    measure: Measure
    by: float

    def of(self, kept: Counts) -> Counts:
        return self.measure.of(kept) + self.by

    def saved(self, kept: Counts, more: Counts, less: Counts) -> Counts:
        return self.measure.saved(kept, more, less)


@dataclass(frozen=True)
class Scaled:
    """A measure that was found to be wrong by a factor."""

    measure: Measure
    by: float

    def of(self, kept: Counts) -> Counts:
        return self.measure.of(kept) * self.by

    def saved(self, kept: Counts, more: Counts, less: Counts) -> Counts:
        return self.measure.saved(kept, more, less) * self.by
