"""How blocks of different groups are compared: the cheapest goes first."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from worker.graph.cost import Counts
from worker.graph.structure import Selection, Structure
from worker.pruning.scoring import Scores

__all__ = ["ByKind", "ByShare", "ByValue", "Pricing", "sums_of"]


class Pricing(Protocol):
    def __call__(self, kept: Counts, more: Counts, less: Counts, saved: Counts, /) -> Counts:
        """(groups,): what is lost where each group alone keeps `less` instead of `more` channels, which saves `saved`;
        all together keep `kept`."""


@dataclass(frozen=True)
class ByValue:
    """`values[g][k]` is what the k best channels of group g are worth; per saved cost where `per_cost`, else per
    channel."""

    values: Sequence[Counts]
    per_cost: bool

    def __call__(self, _kept: Counts, more: Counts, less: Counts, saved: Counts) -> Counts:
        every, start = self._joined
        lost = every[start + more.astype(np.intp)] - every[start + less.astype(np.intp)]
        if not self.per_cost:
            return np.asarray(lost / np.maximum(more - less, 1.0))
        return np.asarray(lost / np.maximum(saved, np.finfo(np.float64).tiny))

    @cached_property
    def _joined(self) -> tuple[Counts, npt.NDArray[np.intp]]:
        """All values one after another, and where those of each group begin."""
        lengths = np.array([len(value) for value in self.values], dtype=np.intp)
        return np.concatenate(self.values), np.cumsum(lengths) - lengths


@dataclass(frozen=True)
class ByShare:
    """Every group keeps the same share of `sizes`, (groups,), as far as it has that much."""

    sizes: Counts

    def __call__(self, _kept: Counts, more: Counts, _less: Counts, _saved: Counts) -> Counts:
        return np.asarray(-more / self.sizes)


@dataclass(frozen=True)
class ByKind:
    """Every kind of group keeps the same share of its channels together; within a kind `inner` decides."""

    kinds: Sequence[int]
    sizes: Counts
    inner: Pricing

    def __call__(self, kept: Counts, more: Counts, less: Counts, saved: Counts) -> Counts:
        whole = np.bincount(self.kinds, weights=self.sizes)
        shares = (np.bincount(self.kinds, weights=kept) / whole)[list(self.kinds)]
        # The kind that has most left comes first, and all others after it, whatever their scores.
        _, place = np.unique(-shares.round(9), return_inverse=True)
        order = np.argsort(np.argsort(self.inner(kept, more, less, saved), kind="stable"), kind="stable")
        return np.asarray(place + order / (len(order) + 1))


def sums_of(structure: Structure, selection: Selection, scores: Scores) -> list[Counts]:
    """For every group: the total score of its k best channels among those left, (channels + 1,)."""
    found = []
    for group in structure.groups:
        members = group.components[selection[group.components]]
        found.append(np.concatenate([[0.0], np.cumsum(np.sort(scores[members])[::-1])]))
    return found
