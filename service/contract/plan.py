"""What a job would do, told from the profiles alone: the answer to `?validate_only=true`."""

from itertools import pairwise

from service.contract.recipe import Recipe, Target
from service.contract.resources import DatasetProfile, ModelProfile, Notice, Plan, PlanEstimate, Reach

__all__ = ["STAGES", "plan"]

STAGES = ("load", "baseline", "prune", "finetune", "audit", "export", "verify", "publish")


def plan(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None, warnings: list[Notice]) -> Plan:
    """Estimate the outcome of a resolved recipe by interpolation in the model's reach table."""
    macs, params = _estimate(recipe.target, model.prunable.reach)
    tier = 0 if dataset is None else 1 if dataset.labels == "none" else 2
    return Plan(
        recipe=recipe,
        dense=PlanEstimate(macs=model.macs, macs_ratio=1.0, params=model.parameters, params_ratio=1.0),
        estimate=PlanEstimate(
            macs=round(model.macs * macs), macs_ratio=macs, params=round(model.parameters * params), params_ratio=params
        ),
        groups=len(model.prunable.groups),
        components=model.prunable.components,
        stages=[stage for stage in STAGES if dataset is not None or stage not in ("baseline", "finetune")],
        evidence_tier=tier,
        not_assessed=_not_assessed(dataset),
        warnings=[*model.warnings, *(dataset.warnings if dataset else []), *warnings],
    )


def _estimate(target: Target, reach: list[Reach]) -> tuple[float, float]:
    """(macs, params) fractions where the tighter of the targets is met."""
    curve = [(1.0, 1.0), *((point.macs, point.params) for point in sorted(reach, key=lambda p: -p.keep))]
    points = []
    if target.macs is not None:
        points.append((target.macs, _interpolate(target.macs, curve)))
    if target.params is not None:
        points.append((_interpolate(target.params, [(p, m) for m, p in curve]), target.params))
    return min(points)


def _interpolate(x: float, curve: list[tuple[float, float]]) -> float:
    """Piecewise linear on a curve of falling x; beyond its end, its last value."""
    for (x0, y0), (x1, y1) in pairwise(curve):
        if x1 <= x <= x0:
            return y0 if x0 == x1 else y1 + (y0 - y1) * (x - x1) / (x0 - x1)
    return curve[-1][1]


def _not_assessed(dataset: DatasetProfile | None) -> list[Notice]:
    notes = []
    if dataset is None:
        notes.append(Notice(code="no-data", detail="Without a dataset only the structure can be judged."))
    elif dataset.labels == "none":
        notes.append(Notice(code="no-labels", detail="Without labels neither accuracy nor bias can be judged."))
    elif dataset.labels == "real":
        notes.append(Notice(code="no-classes", detail="Real-valued labels have no classes to compare."))
    notes.append(Notice(code="one-run", detail="One run cannot show sensitivity to initialization."))
    return notes
