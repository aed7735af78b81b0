"""Fill the open fields of `prune`, or say which of them contradict the target, the model or the data."""

from collections.abc import Iterator

from service.contract.methods import CRITERIA, CriterionInfo
from service.contract.recipe import SPARSE, STRUCTURED, Granularity, Prune, Recipe, Target
from service.contract.refusal import escape, refuse
from service.contract.resources import DatasetProfile, ModelProfile

__all__ = ["DEFAULT_STRUCTURED", "resolve_prune"]

DEFAULT_STRUCTURED: tuple[Granularity, ...] = ("channel", "head", "neuron")
_NEED_SAMPLES = {"sensitivity"}
_SHARE_TOLERANCE = 1e-9

Error = tuple[str, str]


def resolve_prune(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None) -> Prune:
    """`recipe.prune` with granularity, criterion and compensation filled in.

    Raises:
        Unresolvable: `recipe-invalid`, with every contradiction that was found and its pointer.
    """
    prune = recipe.prune
    filled = prune.model_copy(
        update={
            "granularity": prune.granularity or _default_granularity(recipe.target),
            "criterion": prune.criterion or ("taylor" if dataset is not None else "magnitude"),
            "compensate": prune.compensate and dataset is not None,
        }
    )
    errors = [
        *_granularities(filled, recipe.target),
        *_criterion(filled, model, dataset),
        *_allocation(filled, dataset),
        *_schedule(filled, dataset),
    ]
    if errors:
        raise refuse("recipe-invalid", *errors)
    return filled


def _default_granularity(target: Target) -> list[Granularity]:
    chosen: list[Granularity] = []
    if set(target.asked) - {"sparsity"}:
        chosen += DEFAULT_STRUCTURED
    if target.sparsity is not None:
        chosen.append("unstructured")
    return chosen


def _granularities(prune: Prune, target: Target) -> Iterator[Error]:
    pointer = "#/recipe/prune/granularity"
    structural = sorted(set(target.asked) - {"sparsity"})
    rules = [rule.granularity or [] for rule in prune.layers.values()]
    anywhere = {*(prune.granularity or []), *(name for rule in rules for name in rule)}
    if len(prune.sparse) > 1:
        yield pointer, f"{_names(prune.sparse)} exclude each other; name one here and others by layer in prune.layers"
    if anywhere & set(SPARSE) and target.sparsity is None:
        asked = _names(sorted(anywhere & set(SPARSE)))
        yield "#/recipe/target", f"{asked} only sets weights to zero; say how many with target.sparsity, 0.5 for half"
    if target.sparsity is not None and not anywhere & set(SPARSE):
        yield (
            pointer,
            f"target.sparsity needs a granularity that sets weights to zero: add one of {_names(SPARSE)}",
        )
    if structural and not anywhere & set(STRUCTURED):
        yield (
            pointer,
            f"target.{structural[0]} needs a granularity that removes whole units, since zeros change neither cost nor "
            f"shape: add one of {_names(STRUCTURED)}",
        )
    if anywhere & set(STRUCTURED) and not structural:
        yield (
            "#/recipe/target",
            f"{_names(sorted(anywhere & set(STRUCTURED)))} removes whole units; say how far with another target than "
            "sparsity, for example macs",
        )
    if target.sparsity is not None and prune.sparse == ("n:m",) and not any(rules):
        kept, of = prune.n_m
        given = 1 - kept / of
        if abs(target.sparsity - given) > _SHARE_TOLERANCE:
            yield (
                "#/recipe/target/sparsity",
                f"{target.sparsity:g} was asked and the pattern {prune.pattern} gives exactly {given:g}; ask for that, "
                "or use another pattern or granularity",
            )
    for pattern, rule in prune.layers.items():
        if rule.granularity is not None and len(set(rule.granularity) & set(SPARSE)) > 1:
            yield (
                f"#/recipe/prune/layers/{escape(pattern)}/granularity",
                f"{_names(rule.granularity)} exclude each other for one layer; name one",
            )


def _criterion(prune: Prune, model: ModelProfile, dataset: DatasetProfile | None) -> Iterator[Error]:
    pointer = "#/recipe/prune/criterion"
    chosen = next(info for info in CRITERIA if info.name == prune.criterion)
    others = "use 'magnitude'" if dataset is None else "use 'taylor' or 'magnitude'"
    if chosen.needs_data and dataset is None:
        yield pointer, f"{chosen.name!r} needs a dataset; name one, or {others}"
    elif chosen.needs_labels and dataset is not None and dataset.labels == "none":
        yield pointer, f"{chosen.name!r} needs labels and the dataset has none; add them, or {others}"
    if chosen.needs_training and (prune.schedule.epochs == 0 or _steps(prune) == 1):
        yield (
            pointer,
            f"{chosen.name!r} scores by how weights move between the steps: set prune.schedule.epochs to at least 1 "
            f"and steps to at least 2, or {others}",
        )
    yield from ((pointer, detail) for detail in _scores(chosen, prune, others))
    if chosen.name == "batchnorm" and model.normalization != "batch_norm":
        yield (
            pointer,
            "'batchnorm' needs batch norm layers and this model has none (an ONNX export folds them into the "
            f"convolutions); upload the .pt2, or {others}",
        )
    if prune.balance == "class":
        if dataset is None or dataset.labels == "real":
            yield "#/recipe/prune/balance", "'class' needs a dataset with classes; leave it out, or add class labels"
        elif not chosen.balances:
            yield "#/recipe/prune/balance", f"{chosen.name!r} does not look at classes; use 'taylor', or leave it out"


def _scores(chosen: CriterionInfo, prune: Prune, others: str) -> Iterator[str]:
    if prune.structured and not chosen.units:
        yield f"{chosen.name!r} scores single weights and {_names(prune.structured)} removes whole units; {others}"
    if prune.sparse and not chosen.weights:
        yield f"{chosen.name!r} scores whole units and {_names(prune.sparse)} removes single weights; {others}"


def _allocation(prune: Prune, dataset: DatasetProfile | None) -> Iterator[Error]:
    if prune.allocation in _NEED_SAMPLES and dataset is None:
        yield (
            "#/recipe/prune/allocation",
            f"{prune.allocation!r} tries every layer on samples and needs a dataset; name one, or use 'global'",
        )


def _schedule(prune: Prune, dataset: DatasetProfile | None) -> Iterator[Error]:
    rounds = prune.schedule.epochs > 0
    if rounds and dataset is None:
        yield "#/recipe/prune/schedule/epochs", "fine-tuning needs a dataset; name one, or ask for 0 epochs"
    if rounds and _steps(prune) == 1:
        yield (
            "#/recipe/prune/schedule/epochs",
            "there is no second step to train before; use more steps, or leave the training to finetune.epochs",
        )
    if prune.schedule.rewind != "none" and not rounds:
        yield (
            "#/recipe/prune/schedule/rewind",
            f"{prune.schedule.rewind!r} rewinds after rounds of training, and there are none; set "
            "prune.schedule.epochs, or leave it out",
        )


def _steps(prune: Prune) -> int:
    return 1 if prune.schedule.kind == "one_shot" else prune.schedule.steps


def _names(names: tuple[str, ...] | list[str] | list[Granularity]) -> str:
    return ", ".join(f"'{name}'" for name in names)
