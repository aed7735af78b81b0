"""What a job would do, told from the profiles alone: the answer to `?validate_only=true`."""

from itertools import pairwise

from service.contract.methods import CRITERIA
from service.contract.reach import DENSE, granularities_of, reach_for, reach_of
from service.contract.recipe import Recipe, Target
from service.contract.resolve_prune import DEFAULT_STRUCTURED
from service.contract.resources import (
    DatasetProfile,
    GranularityReach,
    ModelProfile,
    Notice,
    Plan,
    PlanEstimate,
    PlanTarget,
    Reach,
)

__all__ = ["STAGES", "plan"]

STAGES = ("load", "baseline", "prune", "finetune", "audit", "export", "verify", "publish")
_ARTIFACTS = (
    *("manifest.json", "model-card.md", "model.onnx", "model.pt2"),
    *("plan.json", "recipe.json", "report.html", "report.json"),
)
_WITH_ZEROS = "model.onnx.zst"

Point = dict[str, float]


def plan(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None, warnings: list[Notice]) -> Plan:
    """Estimate the outcome of a resolved recipe by interpolation in the model's reach tables."""
    reach = reach_for(granularities_of(recipe.prune), model)
    estimate = _estimate(recipe.target, model, reach.reach if reach else [])
    return Plan(
        recipe=recipe,
        dense=_as_estimate(model, _point(model, DENSE)),
        estimate=_as_estimate(model, estimate),
        targets=_targets(recipe, model, estimate),
        groups=len(model.prunable.groups),
        components=model.prunable.components,
        granularities=_granularities(recipe, model),
        stages=[stage for stage in STAGES if dataset is not None or stage not in ("baseline", "finetune")],
        artifacts=sorted([*_ARTIFACTS, *([_WITH_ZEROS] if recipe.target.sparsity is not None else [])]),
        evidence_tier=0 if dataset is None else 1 if dataset.labels == "none" else 2,
        not_assessed=_not_assessed(dataset),
        warnings=[
            *model.warnings,
            *(dataset.warnings if dataset else []),
            *warnings,
            *_warnings(recipe, model, dataset),
        ],
    )


def _point(model: ModelProfile, reach: Reach) -> Point:
    """Everything that is left, by target; sizes only where they are known."""
    sizes = {"size_bytes": reach.size_bytes, "memory_bytes": reach.memory_bytes}
    if reach is DENSE:
        sizes = {"size_bytes": model.size_bytes, "memory_bytes": model.memory_bytes}
    return {"macs": reach.macs, "params": reach.params, **{name: float(size) for name, size in sizes.items() if size}}


def _estimate(target: Target, model: ModelProfile, reach: list[Reach]) -> Point:
    """Where the tightest of the targets is met, as far along the curve as it goes. A target that the curve does not
    know, such as latency, does not count."""
    curve = [_point(model, DENSE), *(_point(model, point) for point in sorted(reach, key=lambda point: -point.keep))]
    known = set.intersection(*(set(point) for point in curve))
    along = max(
        (_crossing([point[name] for point in curve], asked) for name, asked in target.asked.items() if name in known),
        default=0.0,
    )
    return {name: _at([point[name] for point in curve], along) for name in known}


def _crossing(values: list[float], asked: float) -> float:
    """Where a piecewise linear curve of falling values first is at `asked`, in points; its end where it never is."""
    if values[0] <= asked:
        return 0.0
    for index, (above, below) in enumerate(pairwise(values)):
        if below <= asked:
            return index + (above - asked) / (above - below)
    return float(len(values) - 1)


def _at(values: list[float], along: float) -> float:
    index = min(int(along), len(values) - 2) if len(values) > 1 else 0
    if len(values) == 1:
        return values[0]
    return values[index] + (values[index + 1] - values[index]) * (along - index)


def _as_estimate(model: ModelProfile, point: Point) -> PlanEstimate:
    return PlanEstimate(
        macs=round(model.macs * point["macs"]),
        macs_ratio=point["macs"],
        params=round(model.parameters * point["params"]),
        params_ratio=point["params"],
        size_bytes=round(point["size_bytes"]) if "size_bytes" in point else None,
        memory_bytes=round(point["memory_bytes"]) if "memory_bytes" in point else None,
    )


def _targets(recipe: Recipe, model: ModelProfile, estimate: Point) -> list[PlanTarget]:
    limits = reach_of(recipe.prune, model) or {}
    sparse = [each.most for each in model.prunable.sparse if each.granularity in recipe.prune.sparse]
    # A pattern is met exactly, other zeros as they are asked for; where layers have rules of their own, only the job
    # can tell.
    exact = recipe.target.sparsity if recipe.target.sparsity is not None else 0.0
    estimates = dict(estimate) | {"sparsity": exact}
    most = {"sparsity": sparse[0]} if sparse and not recipe.prune.layers else {}
    return [
        PlanTarget(name=name, asked=asked, estimate=estimates.get(name), limit=(limits | most).get(name))
        for name, asked in recipe.target.asked.items()
    ]


def _granularities(recipe: Recipe, model: ModelProfile) -> list[GranularityReach]:
    allowed = granularities_of(recipe.prune)
    sets = [(name,) for name in allowed] + ([allowed] if len(allowed) > 1 else [])
    found = [reach_for(names, model) for names in sets]
    return [each for index, each in enumerate(found) if each is not None and each.units and each not in found[:index]]


def _warnings(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None) -> list[Notice]:
    notes = []
    if model.prunable.by_granularity and recipe.prune.structured:
        there = {name for each in model.prunable.by_granularity for name in each.granularity}
        notes += [
            Notice(
                code="nothing-of-granularity",
                detail=f"the model has no {name} that can be removed; prune.granularity names it without effect",
            )
            for name in recipe.prune.structured
            if name not in there and recipe.prune.structured != DEFAULT_STRUCTURED
        ]
    chosen = next((info for info in CRITERIA if info.name == recipe.prune.criterion), None)
    if chosen is not None and chosen.needs_gradients and chosen.needs_data and dataset and dataset.labels == "none":
        notes.append(
            Notice(
                code="no-labels-for-criterion",
                detail=f"the dataset has no labels; {chosen.name!r} takes the answers of the dense model for them",
            )
        )
    if "embedding" in granularities_of(recipe.prune):
        notes.append(
            Notice(
                code="statistics-change",
                detail="removing width of a normalised stream changes the means and variances that all other channels "
                "are divided by; fine-tune afterwards",
            )
        )
    return notes


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
