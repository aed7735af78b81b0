"""Which channels go to meet a target: blocks of the least important ones, until the cost is at or below it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.graph.structure import Selection, Structure
from worker.pruning.allocation import Limits
from worker.pruning.block_prices import ByShare, Pricing
from worker.pruning.measures import Measure
from worker.pruning.scoring import Scores

__all__ = ["Bound", "Budget", "fit", "least", "uniform"]

# Counts are whole numbers held as floats.
_SLACK = 1e-6

Counts = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bound:
    """What is left may cost `most`; the whole costs `dense`."""

    measure: Measure
    dense: float
    most: float


@dataclass(frozen=True)
class Budget:
    """Upper bounds, all of which hold."""

    bounds: tuple[Bound, ...]

    def met_by(self, kept: Counts) -> npt.NDArray[np.bool_]:
        """(…): whether all bounds hold for kept channels per group, (…, groups)."""
        fits = np.ones(kept.shape[:-1], dtype=np.bool_)
        for bound in self.bounds:
            fits &= bound.measure.of(kept) <= bound.most
        return fits

    def unmet_by(self, kept: Counts) -> tuple[Bound, ...]:
        """The bounds that do not hold for `kept`, (groups,)."""
        return tuple(bound for bound in self.bounds if float(bound.measure.of(kept)) > bound.most)


def fit(
    structure: Structure,
    limits: Limits,
    scores: Scores,
    budget: Budget,
    start: Selection,
    pricing: Pricing,
) -> Selection | None:
    """The part of `start` that meets the budget, or None when the limits do not allow it.

    Blocks of the least `scores` within each group are removed greedily, the cheapest first by `pricing`, of those that
    help with what is not met yet. Since the last blocks may have been larger than needed, removed blocks then come
    back, best first, as long as the budget stays met.
    """
    search = _Search(structure, limits, scores, budget, start, pricing)
    while not search.met():
        if not search.remove_one():
            if not search.strip():
                return None
            break
    while search.restore_one():
        pass
    return search.selection()


def least(structure: Structure, limits: Limits, scores: Scores, start: Selection) -> Selection:
    """The smallest part of `start` that the limits allow, of the best channels."""
    sizes = np.array([group.channels for group in structure.groups], dtype=np.float64)
    search = _Search(structure, limits, scores, Budget(()), start, ByShare(sizes))
    if not search.strip():
        while search.remove_one():
            pass
    return search.selection()


def uniform(structure: Structure, limits: Limits, keep: float) -> Selection:
    """What is left when every group keeps `keep` of its channels, rounded up to blocks, or what the limits ask for.

    With `keep` 0 this is the least that the limits allow.
    """
    sizes = np.array([group.channels for group in structure.groups], dtype=np.float64)
    step = limits.step
    kept = np.minimum(np.ceil(keep * sizes / step - _SLACK) * step, sizes)
    kept[~limits.may_shrink] = sizes[~limits.may_shrink]
    while True:
        short = np.flatnonzero(structure.model.counts(kept) < limits.floor - _SLACK)
        if not len(short):
            break
        groups, entries = structure.model.groups_of(short[0])
        helps = groups[(entries > 0) & (kept[groups] < sizes[groups])]
        poorest = int(helps[np.argmin(kept[helps] / sizes[helps])])
        kept[poorest] = min(kept[poorest] + step[poorest], sizes[poorest])
    selection = structure.everything()
    for group, count in zip(structure.groups, kept, strict=True):
        selection[group.components[int(count) :]] = False
    return selection


class _Search:
    """State of the greedy search: kept channels per group. Members are sorted by score, so a count says which."""

    def __init__(
        self,
        structure: Structure,
        limits: Limits,
        scores: Scores,
        budget: Budget,
        start: Selection,
        pricing: Pricing,
    ) -> None:
        self._structure, self._model, self._limits, self._budget = structure, structure.model, limits, budget
        self._pricing = pricing
        present = [group.components[start[group.components]] for group in structure.groups]
        self._members = [members[np.argsort(-scores[members], kind="stable")] for members in present]
        self._start = start
        self._initial = structure.kept_channels(start)
        self._kept = self._initial.copy()
        touched = self._model.per_group.tocoo()
        takes = touched.data > 0
        self._slots, self._groups, self._entries = touched.row[takes], touched.col[takes], touched.data[takes]
        self._full = np.zeros(len(self._kept), dtype=np.bool_)

    def met(self) -> bool:
        return bool(self._budget.met_by(self._kept))

    def strip(self) -> bool:
        """Keep the least that is allowed. False when that does not meet the budget either."""
        smallest = self._structure.kept_channels(uniform(self._structure, self._limits, 0.0))
        smallest = np.minimum(smallest, self._initial)
        if (self._model.counts(smallest) < self._limits.floor - _SLACK).any():
            return False
        self._kept = smallest
        return self.met()

    def remove_one(self) -> bool:
        """Remove the next block. False when nothing may go."""
        step = self._limits.step
        lower = np.maximum(np.ceil(self._kept / step) - 1, 0) * step
        counts = self._model.counts(self._kept)
        after = counts[self._slots] - self._entries * (self._kept - lower)[self._groups]
        allowed = self._limits.may_shrink & (lower < self._kept)
        allowed[self._groups[after < self._limits.floor[self._slots] - _SLACK]] = False
        if not allowed.any():
            return False
        saved = self._saved(self._budget.unmet_by(self._kept), self._kept, lower)
        if (allowed & (saved > 0)).any():
            allowed &= saved > 0
        candidates = np.flatnonzero(allowed)
        price = self._pricing(self._kept, self._kept, lower, saved)[candidates]
        chosen = candidates[int(np.argmin(price))]
        self._kept[chosen] = lower[chosen]
        return True

    def restore_one(self) -> bool:
        """Bring back the best block that fits. False when none does."""
        upper = np.minimum((np.floor(self._kept / self._limits.step) + 1) * self._limits.step, self._initial)
        candidates = np.flatnonzero((upper > self._kept) & ~self._full)
        saved = self._saved(self._budget.bounds, upper, self._kept)
        price = self._pricing(self._kept, upper, self._kept, saved)[candidates]
        for chosen in candidates[np.argsort(-price, kind="stable")]:
            before, self._kept[chosen] = self._kept[chosen], upper[chosen]
            if self.met():
                return True
            # Costs grow with what is kept: what does not fit now will not fit when more has come back.
            self._kept[chosen], self._full[chosen] = before, True
        return False

    def selection(self) -> Selection:
        selection = self._start.copy()
        for members, kept in zip(self._members, self._kept, strict=True):
            selection[members[int(kept) :]] = False
        return selection

    def _saved(self, bounds: tuple[Bound, ...], more: Counts, less: Counts) -> Counts:
        """(groups,): what is saved of these bounds with `less` instead of `more` channels, in shares of the whole."""
        saved = np.zeros(len(self._kept))
        for bound in bounds:
            saved += bound.measure.saved(self._kept, more, less) / max(bound.dense, np.finfo(np.float64).tiny)
        return saved
