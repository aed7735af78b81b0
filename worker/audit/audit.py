"""The audit: what changed between the dense network, its control twin and the pruned one, and how sure that is.

The confirm split is looked at once, here, and decides nothing but the verdict.
"""

from dataclasses import dataclass

import numpy as np

from service.contract.recipe import Recipe
from service.contract.report import (
    ArmEvaluation,
    Calibration,
    Comparison,
    Exemplar,
    Finding,
    Gate,
    NotAssessed,
    SplitInfo,
    Structure,
)
from service.contract.resources import Verdict
from worker.audit.arms import Arms, evaluate_arms
from worker.audit.calibration import CalibrationChange, calibration_change
from worker.audit.compare import compare
from worker.audit.exemplars import ImageOf, exemplars
from worker.audit.findings import bias_finding, generalization_finding, information_finding, sensitivity_finding
from worker.audit.gates import accuracy_gate, calibration_gate, class_gate, regression_gate, relative_gate
from worker.audit.integrity import integrity_gate, structure_gate
from worker.audit.regression import compare_regression
from worker.audit.suggestions import suggestions
from worker.audit.verdict import TIER_NAMES, Tier, judge, not_assessed, not_run_gates
from worker.data.answers import Answers, read_answers
from worker.data.batches import Task

__all__ = ["AuditInputs", "Evidence", "audit"]


@dataclass(frozen=True)
class AuditInputs:
    """What the audit judges.

    `confirm` are the answers of the three arms on the confirm split, None when the job had no data; `train` the same on
    un-augmented training samples, for the generalization gap. `class_names` has a name per output, or is None.
    Ratios are pruned ÷ dense. `recipe` is resolved; margins, alpha, targets and the seed are read from it.
    """

    task: Task
    recipe: Recipe
    structure: Structure
    macs_ratio: float
    params_ratio: float
    confirm: Arms | None
    train: Arms | None
    splits: dict[str, SplitInfo | None]
    disjoint: bool
    duplicates_removed: int
    class_names: tuple[str, ...] | None = None
    image_of: ImageOf | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything in the report that comes from the audit, under the report's own names."""

    task: Task
    verdict: Verdict
    verdict_reasons: list[str]
    evidence_tier: Tier
    evidence_tier_name: str
    not_assessed: list[NotAssessed]
    splits: dict[str, SplitInfo | None]
    disjoint: bool
    duplicates_removed: int
    arms: list[ArmEvaluation]
    vs_original: Comparison | None
    vs_twin: Comparison | None
    calibration: Calibration | None
    structure: Structure
    gates: list[Gate]
    exemplars: list[Exemplar]
    loss_of_information: Finding
    bias: Finding
    sensitivity: Finding
    generalization: Finding
    suggestions: list[str]


@dataclass(frozen=True)
class _Behaviour:
    """What was seen on the confirm split."""

    itself: Comparison | None = None
    vs_original: Comparison | None = None
    vs_twin: Comparison | None = None
    calibration: CalibrationChange | None = None
    exemplars: tuple[Exemplar, ...] = ()


def audit(inputs: AuditInputs) -> Evidence:
    """Judge the pruned network against its twin. Pure: the same inputs give the same evidence.

    Raises ValueError when arms and labels do not fit together, which is a fault of the caller.
    """
    tier = _tier(inputs)
    settings = inputs.recipe.audit
    seen = _behaviour(inputs)
    gates = [
        integrity_gate(
            seen.itself,
            [comparison for comparison in (seen.vs_original, seen.vs_twin) if comparison is not None],
            inputs.splits,
            inputs.disjoint,
            _broken_answers(inputs.confirm),
        ),
        structure_gate(inputs.structure, inputs.recipe.target, inputs.macs_ratio, inputs.params_ratio),
    ]
    if tier == 2 and seen.vs_twin is not None:
        if inputs.task == "regression":
            gates.append(regression_gate(seen.vs_twin, settings))
        else:
            gates += [gate(seen.vs_twin, settings) for gate in (accuracy_gate, class_gate, relative_gate)]
    if seen.calibration is not None:
        gates.append(calibration_gate(seen.calibration))
    gates = sorted([*gates, *not_run_gates(inputs.task, tier)], key=lambda gate: gate.id)
    judgement = judge(gates, tier)
    arms = evaluate_arms(inputs.task, inputs.confirm, inputs.train)
    calibration = None if seen.calibration is None else seen.calibration.section
    return Evidence(
        task=inputs.task,
        verdict=judgement.verdict,
        verdict_reasons=judgement.reasons,
        evidence_tier=tier,
        evidence_tier_name=TIER_NAMES[tier],
        not_assessed=not_assessed(inputs.task, tier),
        splits=inputs.splits,
        disjoint=inputs.disjoint,
        duplicates_removed=inputs.duplicates_removed,
        arms=arms,
        vs_original=seen.vs_original,
        vs_twin=seen.vs_twin,
        calibration=calibration,
        structure=inputs.structure,
        gates=gates,
        exemplars=list(seen.exemplars),
        loss_of_information=information_finding(seen.vs_twin, seen.vs_original),
        bias=bias_finding(seen.vs_twin, calibration),
        sensitivity=sensitivity_finding(inputs.recipe.seed, assessed=tier == 2),
        generalization=generalization_finding(arms),
        suggestions=suggestions(inputs.recipe, judgement.verdict, gates, seen.vs_twin, tier),
    )


def _tier(inputs: AuditInputs) -> Tier:
    if inputs.confirm is None or not len(inputs.confirm.pruned.logits):
        return 0
    return 1 if inputs.confirm.pruned.labels is None else 2


def _behaviour(inputs: AuditInputs) -> _Behaviour:
    if inputs.confirm is None or not _tier(inputs):
        return _Behaviour()
    arms, settings, seed = inputs.confirm, inputs.recipe.audit, inputs.recipe.seed
    if inputs.task == "regression":
        return _Behaviour(
            itself=compare_regression(arms.dense, arms.dense, settings.alpha, seed, "dense"),
            vs_original=compare_regression(arms.dense, arms.pruned, settings.alpha, seed, "dense"),
            vs_twin=compare_regression(arms.twin, arms.pruned, settings.alpha, seed, "twin"),
        )
    dense, twin, pruned = read_answers(arms.dense), read_answers(arms.twin), read_answers(arms.pruned)
    names = _names(inputs.class_names, pruned)
    return _Behaviour(
        itself=compare(dense, dense, names, settings, "dense"),
        vs_original=compare(dense, pruned, names, settings, "dense"),
        vs_twin=compare(twin, pruned, names, settings, "twin"),
        calibration=None if pruned.labels is None else calibration_change(twin, pruned, settings.alpha, seed),
        exemplars=tuple(exemplars(twin, pruned, names, inputs.image_of)),
    )


def _names(given: tuple[str, ...] | None, answers: Answers) -> tuple[str, ...]:
    """A name for every output: the dataset may know fewer classes than the network, or none by name."""
    known = given or ()
    return tuple(known[k] if k < len(known) else f"class {k}" for k in range(answers.classes))


def _broken_answers(arms: Arms | None) -> dict[str, int]:
    if arms is None:
        return {}
    named = (("dense", arms.dense), ("twin", arms.twin), ("pruned", arms.pruned))
    return {name: int((~np.isfinite(answers.logits).all(axis=1)).sum()) for name, answers in named}
