"""The targets of a recipe, each as a measure and what it may be at most."""

from dataclasses import dataclass, replace
from typing import Literal

from service.contract.recipe import Target
from worker.graph.cost import Counts
from worker.graph.network import Network
from worker.graph.sizes import file_size
from worker.graph.structure import Structure
from worker.pruning.budget import Bound, Budget
from worker.pruning.measures import Measure, Offset, Scaled, Summed

__all__ = ["MEASURED", "Goal", "GoalName", "goals_of", "in_words", "with_budget"]

GoalName = Literal["macs", "params", "size_bytes", "memory_bytes", "latency", "speedup"]

MEASURED: frozenset[GoalName] = frozenset({"size_bytes", "latency", "speedup"})
"""What is only predicted before a candidate is written and run. The others are exact."""

# What a prediction of times leaves to noise: the upper end of an interval has to be at the target, not its middle.
_ROOM_FOR_NOISE = 0.04


@dataclass(frozen=True)
class Goal:
    """A target. `measure`, `dense` and `most` are absolute: MACs, parameters, bytes, milliseconds of the pruned model.
    `asked` and what `reached` answers are in the unit of the recipe."""

    name: GoalName
    asked: float
    measure: Measure
    dense: float
    most: float

    def reached(self, cost: float) -> float:
        """A cost in the unit of the recipe."""
        match self.name:
            case "macs" | "params":
                return cost / self.dense
            case "speedup":
                return self.dense / cost
            case _:
                return cost

    def predicted(self, kept: Counts) -> float:
        """The cost for kept channels per group, (groups,)."""
        return float(self.measure.of(kept))

    def corrected(self, kept: Counts, measured: float) -> "Goal":
        """With a measure that answers `measured` for `kept`. The tensors of a file are counted exactly, so that its
        estimate is off by a constant; times are off by a factor."""
        predicted = self.predicted(kept)
        if self.name == "size_bytes":
            return replace(self, measure=Offset(self.measure, measured - predicted))
        return replace(self, measure=Scaled(self.measure, measured / predicted))


def goals_of(
    target: Target, network: Network, structure: Structure, memory: Measure | None = None, times: Measure | None = None
) -> tuple[Goal, ...]:
    """Every target but `sparsity`. `memory` answers bytes of activations and `times` predicts milliseconds, where such
    targets are asked; what `times` answers for the whole network is what the dense one was measured to take."""
    whole = structure.kept_channels(structure.everything())
    goals = []
    for name, asked in target.asked.items():
        match name:
            case "macs" | "params":
                measure: Measure = Summed(structure.model, ((1.0, getattr(structure.model, name)),))
                goals.append(_goal(name, asked, measure, whole, share=True))
            case "size_bytes":
                size = file_size(network, structure)
                goals.append(_goal(name, asked, Summed(size.model, size.parts), whole))
            case "memory_bytes":
                assert memory is not None
                goals.append(_goal(name, asked, memory, whole))
            case "latency" | "speedup":
                assert times is not None
                goals.append(_goal(name, asked, times, whole))
    return tuple(goals)


def _goal(name: GoalName, asked: float, measure: Measure, whole: Counts, *, share: bool = False) -> Goal:
    dense = float(measure.of(whole))
    most = asked * dense if share else dense / asked if name == "speedup" else asked
    return Goal(name, asked, measure, dense, most)


def with_budget(goals: tuple[Goal, ...], progress: float = 1.0) -> Budget:
    """All goals at once, or what part of the way to them leaves: `progress` runs from 0 to 1."""
    bounds = []
    for goal in goals:
        most = goal.most * (1 - _ROOM_FOR_NOISE) if goal.name in ("latency", "speedup") else goal.most
        bounds.append(Bound(goal.measure, goal.dense, goal.dense - (goal.dense - most) * progress))
    return Budget(tuple(bounds))


def in_words(goal: Goal, cost: float) -> str:
    """A cost as people would say it, in the unit of the recipe."""
    value = goal.reached(cost)
    match goal.name:
        case "size_bytes" | "memory_bytes":
            return f"{value:.0f}"
        case "latency":
            return f"{value:.3g} ms"
        case "speedup":
            return f"{value:.2f}"
        case _:
            return f"{value:.3f}"
