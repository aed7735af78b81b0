"""How far the rules of a recipe let a network be pruned, and the failure that says so."""

from worker.errors import TargetUnreachable
from worker.graph.structure import Selection, Structure
from worker.pruning.allocation import Limits
from worker.pruning.budget import uniform
from worker.pruning.goals import Goal, in_words
from worker.pruning.trial import Reading

__all__ = ["limits_reached", "unreachable"]


def limits_reached(structure: Structure, limits: Limits, goals: tuple[Goal, ...]) -> dict[str, float]:
    """The least that each goal can come to, in the unit of the recipe."""
    smallest = structure.kept_channels(uniform(structure, limits, 0.0))
    return {goal.name: goal.reached(goal.predicted(smallest)) for goal in goals}


def unreachable(
    structure: Structure, goals: tuple[Goal, ...], smallest: Selection, reading: Reading | None
) -> TargetUnreachable:
    """`smallest` is the least that can be left, and `reading` what was measured of it, where anything was."""
    kept = structure.kept_channels(smallest)
    parts = []
    for goal in goals:
        asked = f"{goal.asked:g}" + (" ms" if goal.name == "latency" else "")
        if reading is None or goal.name not in reading.worst:
            reached, how = in_words(goal, goal.predicted(kept)), ""
        else:
            middle, worst = reading.middle[goal.name], reading.worst[goal.name]
            reached, how = in_words(goal, worst), ""
            if worst != middle:
                how = f" (measured {in_words(goal, middle)}, and the unfavourable end of its 95 % interval counts)"
        parts.append(f"{goal.name} {asked} was asked and {reached} can be reached{how}")
    return TargetUnreachable(
        f"{'; '.join(parts)} under the rules of the recipe. Ask for less (a larger target, a smaller speedup), "
        "or relax min_keep, round_to, protect or layers, or allow more in granularity"
    )
