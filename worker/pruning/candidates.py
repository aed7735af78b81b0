"""What the steps of a prune choose from."""

from dataclasses import dataclass

from service.contract.recipe import Target
from worker.graph.memory import activation_memory
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure
from worker.graph.surgery import remove
from worker.pruning.allocation import Limits
from worker.pruning.block_prices import Pricing
from worker.pruning.budget import fit, least, uniform
from worker.pruning.goals import MEASURED, Goal, goals_of, with_budget
from worker.pruning.latency import layer_times
from worker.pruning.reach import unreachable
from worker.pruning.scoring import Scores
from worker.pruning.settle import Settled, corrected, meets, settle
from worker.pruning.trial import Trial

__all__ = ["Candidates", "reachable_goals"]


@dataclass(frozen=True)
class Candidates:
    """How candidates for the next step are found: by greedy search, within the limits of the recipe."""

    structure: Structure
    limits: Limits
    scores: Scores
    pricing: Pricing

    def fit(self, goals: tuple[Goal, ...], progress: float, start: Selection) -> Selection | None:
        return fit(self.structure, self.limits, self.scores, with_budget(goals, progress), start, self.pricing)

    def chosen(self, goals: tuple[Goal, ...], progress: float, start: Selection) -> Selection:
        """What a step leaves. Raises TargetUnreachable, but not for what is only predicted before the last step."""
        found = self.fit(goals, progress, start)
        if found is not None:
            return found
        smallest = least(self.structure, self.limits, self.scores, start)
        exact = tuple(goal for goal in goals if goal.name not in MEASURED)
        if len(exact) < len(goals) and with_budget(exact).met_by(self.structure.kept_channels(smallest)):
            return smallest
        raise unreachable(self.structure, goals, smallest, None)

    def settled(self, goals: tuple[Goal, ...], start: Selection, network: Network, trial: Trial) -> Settled:
        """What the last step leaves, measured. Raises TargetUnreachable."""
        return settle(
            self.structure,
            goals,
            least(self.structure, self.limits, self.scores, start),
            lambda goals: self.fit(goals, 1.0, start),
            lambda selection: trial(remove(network, self.structure, selection)),
        )


def reachable_goals(
    network: Network, structure: Structure, limits: Limits, target: Target, trial: Trial | None
) -> tuple[Goal, ...]:
    """The goals, none of which is out of reach. What is out of reach by prediction is measured.

    Raises TargetUnreachable.
    """
    memory = times = None
    if {"memory_bytes", "latency", "speedup"} & set(target.asked):
        memory = activation_memory(network, structure)
        if target.latency is not None or target.speedup is not None:
            assert trial is not None
            times = layer_times(structure, memory, trial.dense_ms)
    goals = goals_of(target, network, structure, memory, times)
    smallest = uniform(structure, limits, 0.0)
    kept = structure.kept_channels(smallest)
    beyond = {goal.name for goal in goals if goal.predicted(kept) > goal.most}
    if beyond - MEASURED or (beyond and trial is None):
        raise unreachable(structure, goals, smallest, None)
    if beyond:
        assert trial is not None
        reading = trial(remove(network, structure, smallest))
        if not meets(goals, reading, kept):
            raise unreachable(structure, goals, smallest, reading)
        goals = corrected(structure, goals, smallest, reading)
    return goals
