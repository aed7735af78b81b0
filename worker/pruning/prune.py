"""Prune a network to a target: score, choose, cut, and again, then check that the result is exact."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from service.contract.recipe import Prune, Target
from worker.data.batches import Samples, Task
from worker.errors import NothingRemoved, SelfCheckFailed
from worker.graph.check import check_cut
from worker.graph.inner import Inner, inner_values
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.pruning.allocation import Limits, held_layers, limits_of, requested_keep
from worker.pruning.candidates import Candidates, reachable_goals
from worker.pruning.compensation import compensate
from worker.pruning.criteria import CRITERIA
from worker.pruning.goals import MEASURED, Goal
from worker.pruning.plan import LayerPlan, Plan, PlanStep, TargetPlan, selection_of
from worker.pruning.reach import limits_reached
from worker.pruning.schedule import milestones
from worker.pruning.scoring import Scene
from worker.pruning.trial import Reading, Trial
from worker.pruning.unit_allocations import pricing_of
from worker.reporter import Reporter
from worker.training.movement import Movement
from worker.training.weights import load_weights

__all__ = ["Pruned", "Unfinished", "prune", "unpruned"]

# Single precision leaves 1e-7 to 1e-6 of the largest answer; a wrong index or size leaves a good part of it.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Pruned:
    """`structure` is that of the dense network; `self_check` the largest relative difference to the masked one.

    `inner` are the activations that dense and pruned network have in common, for training to compare.
    """

    network: Network
    plan: Plan
    structure: Structure
    selection: Selection
    self_check: float
    inner: tuple[Inner, ...]


@dataclass(frozen=True)
class Unfinished:
    """What an interrupted prune had reached: the plan so far, and the weights of the network cut so far, by name."""

    plan: Plan
    weights: dict[str, Tensor]


def prune(
    network: Network,
    recipe_prune: Prune,
    target: Target,
    samples: Samples | None,
    task: Task,
    seed: int,
    reporter: Reporter,
    on_step: Callable[[Plan, Network], None] | None = None,
    resume: Unfinished | None = None,
    between: Callable[[Network, int, Structure, Selection], Network] | None = None,
    movement: Movement | None = None,
    trial: Trial | None = None,
) -> Pruned:
    """Remove channels until everything that `target` names is met, from the safe side.

    Scores are taken anew before each step, on what is left of the network. `between` is called after each step but the
    last with the network cut so far, the number of the step and what is left, and returns the network with new values
    (recalibrated, trained); `movement` holds what that training accumulated. `on_step` is given the plan and the
    network so far after each step. With `resume`, the steps in that plan are taken as done. `trial` measures
    candidates of the last step; targets of size, latency or speedup need one.

    Raises TargetUnreachable, NothingRemoved, SelfCheckFailed, and JobFailed when the criterion lacks what it needs.
    """
    structure = analyze(network, example_inputs(network))
    limits = limits_of(structure, recipe_prune, reporter.warn)
    if not limits.may_shrink.any():
        raise NothingRemoved(_why_nothing(structure, limits))
    criterion = CRITERIA[recipe_prune.criterion or ("magnitude" if samples is None else "taylor")]
    steps = list(resume.plan.steps) if resume is not None else []
    targets = list(resume.plan.targets) if resume is not None else []
    selection = selection_of(structure, resume.plan) if resume is not None else structure.everything()
    current = network
    if resume is not None:
        current = remove(network, structure, selection)
        load_weights(current, resume.weights)
    goals = (
        ()
        if resume is not None and resume.plan.complete and targets
        else reachable_goals(network, structure, limits, target, trial)
    )
    shares = milestones(recipe_prune.schedule, _left(goals))
    if between is not None and 0 < len(steps) < len(shares):
        current = between(current, len(steps) - 1, structure, selection)
    for index in range(len(steps), len(shares)):
        advance = _advance(reporter, index, len(shares))
        advance(0.0)
        moved = None if movement is None else movement.scores
        scene = Scene(network, current, structure, selection, samples, task, recipe_prune, seed, advance, None, moved)
        scores, reading = criterion.score(scene), None
        pricing = pricing_of(scene, limits, scores, per_cost=criterion.per_cost)
        candidates = Candidates(structure, limits, scores, pricing)
        if index + 1 == len(shares) and trial is not None and any(goal.name in MEASURED for goal in goals):
            settled = candidates.settled(goals, selection, network, trial)
            chosen, reading, goals = settled.selection, settled.reading, settled.goals
        else:
            chosen = candidates.chosen(goals, shares[index], selection)
        steps.append(_step(structure, selection, chosen))
        if recipe_prune.compensate and samples is not None:
            current = compensate(current, structure, selection, chosen, samples)
        current = remove(current, structure, chosen, since=selection, consume=current is not network)
        selection = chosen
        complete = index + 1 == len(shares)
        targets = _targets(structure, limits, goals, selection, reading)
        if not complete:
            # The next step computes scores on this cut, and a wrong one would fail there with a less exact reason.
            _check(network, structure, selection)
        if on_step is not None:
            on_step(_plan(structure, recipe_prune, target, selection, steps, targets, complete=complete), current)
        if between is not None and not complete:
            current = between(current, index, structure, selection)
    if not targets:  # the checkpoint of an earlier version
        targets = _targets(structure, limits, goals, selection, None)
    if selection.all():
        raise NothingRemoved(_why_nothing(structure, limits))
    error = _check(network, structure, selection)
    held = held_layers(structure, limits, selection)
    if held:
        names = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
        reporter.warn(
            "layers-at-their-floor",
            f"{names}: pruned as far as prune.min_keep, prune.round_to and prune.layers allow",
        )
    plan = _plan(structure, recipe_prune, target, selection, steps, targets, complete=True)
    return Pruned(current, plan, structure, selection, error, inner_values(structure, selection))


def unpruned(network: Network) -> Pruned:
    """`network` as it is, for a recipe that removes no units."""
    structure = analyze(network, example_inputs(network))
    everything = structure.everything()
    plan = _plan(structure, Prune(), None, everything, [], [], complete=True)
    return Pruned(network, plan, structure, everything, 0.0, inner_values(structure, everything))


def _advance(reporter: Reporter, step: int, steps: int) -> Callable[[float], None]:
    return lambda fraction: reporter.progress((step + fraction) / steps, f"pruning, step {step + 1} of {steps}")


def _check(network: Network, structure: Structure, selection: Selection) -> float:
    """Cut the dense weights once more and compare. Two samples, so that nothing may depend on the batch being one."""
    example = example_inputs(network, batch=1 if structure.merges_batch(network) else 2, seed=1)
    error = check_cut(network, structure, selection, example)
    if not error <= _TOLERANCE:
        raise SelfCheckFailed(
            f"pruned and masked dense network differ by {error:.1e} of the largest answer, and at most "
            f"{_TOLERANCE:.0e} is rounding; protect the layers around unusual ops and report the model"
        )
    return error


def _left(goals: tuple[Goal, ...]) -> float:
    """The smallest share of the dense cost that a goal leaves."""
    return min((goal.most / goal.dense for goal in goals if goal.most < goal.dense), default=0.5)


def _targets(
    structure: Structure, limits: Limits, goals: tuple[Goal, ...], selection: Selection, reading: Reading | None
) -> list[TargetPlan]:
    kept, reach = structure.kept_channels(selection), limits_reached(structure, limits, goals)
    measured = reading.middle if reading is not None else {}
    return [
        TargetPlan(
            name=goal.name,
            asked=goal.asked,
            reached=goal.reached(measured.get(goal.name, goal.predicted(kept))),
            limit=reach[goal.name],
        )
        for goal in goals
    ]


def _why_nothing(structure: Structure, limits: Limits) -> str:
    if limits.may_shrink.any():
        return "the model already meets the target; ask for a smaller one"
    if structure.groups:
        units = Counter[str]()
        for group in structure.groups:
            units[group.role] += group.channels
        there = ", ".join(f"{count} of granularity {role!r}" for role, count in units.items())
        return f"the recipe allows nothing that this model has: it has {there}; name them in prune.granularity"
    reasons = "; ".join(f"{blocked.op}: {blocked.why}" for blocked in structure.blocked[:3])
    return f"no channel of this model can be removed{f' ({reasons})' if reasons else ''}"


def _step(structure: Structure, before: Selection, after: Selection) -> PlanStep:
    gone = before & ~after
    removed = {
        group.id: [int(position) for position in np.flatnonzero(gone[group.components])] for group in structure.groups
    }
    cost = structure.cost(after)
    return PlanStep(
        removed={name: positions for name, positions in removed.items() if positions},
        macs=cost.macs,
        params=cost.params,
    )


def _plan(
    structure: Structure,
    recipe: Prune,
    target: Target | None,
    selection: Selection,
    steps: list[PlanStep],
    targets: list[TargetPlan],
    *,
    complete: bool,
) -> Plan:
    dense, cost = structure.cost(structure.everything()), structure.cost(selection)
    layers = []
    for layer, left in zip(structure.layers, structure.layer_costs(selection), strict=True):
        numbers = structure.slots[layer.slot].numbers if layer.slot is not None else np.zeros(1, dtype=np.int64)
        layers.append(
            LayerPlan(
                name=layer.name,
                op=layer.op,
                groups=list(layer.groups),
                channels=layer.channels,
                channels_kept=left.channels,
                kept=[] if left.gone else [int(position) for position in np.flatnonzero(selection[numbers])],
                requested_keep=requested_keep(layer, recipe),
                params=layer.parameters,
                params_kept=left.params,
                macs=layer.macs,
                macs_kept=left.macs,
                gone=left.gone,
            )
        )
    return Plan(
        steps=list(steps),
        complete=complete,
        requested_macs=target.macs if target else None,
        requested_params=target.params if target else None,
        dense_macs=dense.macs,
        dense_params=dense.params,
        macs=cost.macs,
        params=cost.params,
        layers=layers,
        targets=list(targets),
    )
