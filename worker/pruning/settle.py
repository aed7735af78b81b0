"""The last step towards targets that can only be predicted: try, correct the prediction, and try again."""

from collections.abc import Callable
from dataclasses import dataclass

from worker.graph.cost import Counts
from worker.graph.structure import Selection, Structure
from worker.pruning.goals import MEASURED, Goal
from worker.pruning.reach import unreachable
from worker.pruning.trial import Reading

__all__ = ["Settled", "corrected", "meets", "settle"]

# A candidate costs an export and seconds of measuring.
_MOST_TRIES = 8
# More than this below a target in time is left to be won back, and cannot be told from noise any finer.
_CLOSE = 0.07


@dataclass(frozen=True)
class Settled:
    """What is kept, what was measured of it, and the goals with the measures that this corrected."""

    selection: Selection
    reading: Reading
    goals: tuple[Goal, ...]


def settle(
    structure: Structure,
    goals: tuple[Goal, ...],
    smallest: Selection,
    fit: Callable[[tuple[Goal, ...]], Selection | None],
    read: Callable[[Selection], Reading],
) -> Settled:
    """The largest candidate found whose measured figures meet all goals.

    `fit` proposes a candidate for goals, or None; then it is `smallest`. Where a candidate misses a goal, or removes
    more than it had to, the prediction is corrected by what was measured and the search goes on.

    Raises TargetUnreachable, with what was measured of `smallest`, when that does not meet the goals either.
    """
    best: Settled | None = None
    tried: list[Selection] = []
    while len(tried) < _MOST_TRIES:
        chosen = fit(goals)
        if chosen is None:
            chosen = smallest
        if any((chosen == other).all() for other in tried):
            break
        tried.append(chosen)
        reading = read(chosen)
        met = meets(goals, reading, structure.kept_channels(chosen))
        if met and (best is None or structure.cost(chosen).macs > structure.cost(best.selection).macs):
            best = Settled(chosen, reading, goals)
        if not met and (chosen == smallest).all():
            raise unreachable(structure, goals, smallest, reading)
        if met and (chosen.all() or _close(goals, reading)):
            break
        goals = corrected(structure, goals, chosen, reading)
    if best is None:
        reading = read(smallest)
        if not meets(goals, reading, structure.kept_channels(smallest)):
            raise unreachable(structure, goals, smallest, reading)
        best = Settled(smallest, reading, goals)
    return Settled(best.selection, best.reading, goals)


def corrected(
    structure: Structure, goals: tuple[Goal, ...], selection: Selection, reading: Reading
) -> tuple[Goal, ...]:
    """Goals whose measures answer for `selection` what was measured."""
    kept = structure.kept_channels(selection)
    return tuple(goal.corrected(kept, reading.worst[goal.name]) if goal.name in MEASURED else goal for goal in goals)


def meets(goals: tuple[Goal, ...], reading: Reading, kept: Counts) -> bool:
    """Whether what keeps `kept`, (groups,), is at or below every goal, with the unfavourable end of what was measured
    of it."""
    return all(
        (reading.worst[goal.name] if goal.name in MEASURED else goal.predicted(kept)) <= goal.most for goal in goals
    )


def _close(goals: tuple[Goal, ...], reading: Reading) -> bool:
    """Whether some measured goal is used up: nothing worth mentioning could come back."""
    measured = [goal for goal in goals if goal.name in MEASURED]
    return any(reading.worst[goal.name] >= goal.most * (1 - _CLOSE) for goal in measured)
