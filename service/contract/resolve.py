"""Fill a recipe's open fields from what is known about the model and the dataset, or say why it cannot work.

Runs before a job is queued, on the profiles that inspection left, so that a request that cannot succeed is answered at
once. What only the weights can decide (which augmentation the dense model survives, whether the exact budget can be
met) is left to the job.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from service.contract.fit import UINT8_SCALE, Misfit, check_classes, fit, takes_image
from service.contract.reach import granularities_of, reach_of
from service.contract.recipe import Finetune, Input, Prune, Recipe, Target
from service.contract.refusal import Unresolvable, escape, refuse
from service.contract.resolve_prune import resolve_prune
from service.contract.resources import DatasetProfile, ModelProfile, Notice

__all__ = ["Resolved", "Unresolvable", "resolve"]

DEFAULT_LEARNING_RATE = {"sgd": 0.01, "adamw": 0.001}  # peaks of a short fine-tune, a tenth of training from scratch

# What a limit in the profile is, how it is written, and below which share of it nothing can be reached for sure: sizes
# of files are estimates, off by up to a tenth for the smallest.
_LIMITS = {
    "macs": ("fraction of macs", ".4f", 1.0),
    "params": ("fraction of params", ".4f", 1.0),
    "size_bytes": ("file in bytes, about,", ".0f", 0.9),
    "memory_bytes": ("number of bytes of activations", ".0f", 1.0),
}


@dataclass(frozen=True)
class Resolved:
    """A recipe without open fields (but `finetune.augment`, which the job fills), and what its owner should know."""

    recipe: Recipe
    warnings: list[Notice] = field(default_factory=list)


def resolve(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None) -> Resolved:
    """Return the recipe with every default filled in.

    Raises:
        Unresolvable: `dataset-mismatch` when the samples or labels do not fit the model, `recipe-invalid` when a field
            asks for what the model or dataset cannot give, `target-unreachable` when the budget is too small.
    """
    warnings: list[Notice] = []
    _check_patterns(recipe.prune, model)
    recipe = recipe.model_copy(update={"prune": resolve_prune(recipe, model, dataset)})
    _check_asked(recipe.target, model)
    _check_target(recipe.target, recipe.prune, model)
    if dataset is None:
        return Resolved(_without_data(recipe), warnings)
    resolved_input = _resolve_input(recipe.input, model, dataset, warnings)
    _check_labels(model, dataset)
    return Resolved(
        recipe.model_copy(
            update={
                "input": resolved_input,
                "finetune": _resolve_finetune(recipe.finetune, model, dataset),
            }
        ),
        warnings,
    )


def _check_patterns(prune: Prune, model: ModelProfile) -> None:
    names = [layer.name for layer in model.layers]
    patterns = [(f"#/recipe/prune/protect/{i}", pattern) for i, pattern in enumerate(prune.protect)]
    patterns += [(f"#/recipe/prune/layers/{escape(pattern)}", pattern) for pattern in prune.layers]
    unmatched = [
        (pointer, f"{pattern!r} matches no layer of this model; its layers are {_some(names)}")
        for pointer, pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if unmatched:
        raise refuse("recipe-invalid", *unmatched)


def _check_target(target: Target, prune: Prune, model: ModelProfile) -> None:
    """The limits in the profile hold for the default rules; stricter rules can only raise them."""
    if not granularities_of(prune):
        return
    limits = reach_of(prune, model)
    if not model.prunable.components and (limits is None or limits["macs"] >= 1.0):
        why = (
            "see `blocked` of the model for the ops in the way"
            if model.blocked
            else "what its layers make is its answer, or has to stay whole; to zero single weights ask for sparsity"
        )
        raise refuse("target-unreachable", ("#/recipe/target", f"nothing in this model can be pruned; {why}"))
    if limits is None:
        return
    errors = [
        (
            f"#/recipe/target/{name}",
            f"{asked:g} is below {limits[name]:{form}}, the smallest {what} this model can reach with these rules; ask "
            "for more, lower prune.min_keep, use a smaller prune.round_to, or allow more in prune.granularity",
        )
        for name, asked in target.asked.items()
        if name in limits
        for what, form, sure in [_LIMITS[name]]
        if asked < sure * limits[name]
    ]
    if errors:
        raise refuse("target-unreachable", *errors)


def _check_asked(target: Target, model: ModelProfile) -> None:
    """A target in bytes that the model meets as it is asks for nothing, and removing nothing is a failure."""
    whole = {"size_bytes": model.size_bytes, "memory_bytes": model.memory_bytes}
    met = [
        (f"#/recipe/target/{name}", f"the model has {there} bytes already; ask for fewer than that")
        for name, asked in target.asked.items()
        if (there := whole.get(name)) is not None and asked * _LIMITS[name][2] >= there
    ]
    if len(met) == len(target.asked):
        raise refuse("recipe-invalid", *met)


def _without_data(recipe: Recipe) -> Recipe:
    """A data-free prune: weights alone decide, nothing is trained."""
    if "epochs" in recipe.finetune.model_fields_set and recipe.finetune.epochs > 0:
        raise refuse(
            "recipe-invalid",
            ("#/recipe/finetune/epochs", "fine-tuning needs a dataset; name one, or ask for 0 epochs"),
        )
    finetune = recipe.finetune.model_copy(
        update={
            "epochs": 0,
            "distill": None,
            "recalibrate": False,
            "augment": [],
            "learning_rate": recipe.finetune.learning_rate or DEFAULT_LEARNING_RATE[recipe.finetune.optimizer],
        }
    )
    return recipe.model_copy(update={"finetune": finetune})


def _resolve_finetune(finetune: Finetune, model: ModelProfile, dataset: DatasetProfile) -> Finetune:
    errors = []
    if dataset.labels == "none" and finetune.epochs > 0 and finetune.distill is None:
        errors.append(
            (
                "#/recipe/finetune/distill",
                "the dataset has no labels and distillation is off, so there is nothing to learn from; "
                "turn distillation on, add labels, or ask for 0 epochs",
            )
        )
    if finetune.loss == "cross_entropy" and dataset.labels == "real":
        errors.append(
            ("#/recipe/finetune/loss", "'cross_entropy' needs integer labels; this dataset has real-valued ones")
        )
    if finetune.class_weights == "balanced" and dataset.labels != "class":
        errors.append(("#/recipe/finetune/class_weights", "'balanced' needs integer labels; this dataset has none"))
    images = any(takes_image(tensor) for tensor in model.inputs)
    if finetune.augment and not images:
        errors.append(("#/recipe/finetune/augment", "augmentation needs images, inputs of four dimensions"))
    if errors:
        raise refuse("recipe-invalid", *errors)
    default_loss = {"class": "cross_entropy", "real": "mse", "none": None}[dataset.labels]
    return finetune.model_copy(
        update={
            "learning_rate": finetune.learning_rate or DEFAULT_LEARNING_RATE[finetune.optimizer],
            "loss": finetune.loss or default_loss,
            "augment": finetune.augment if images else [],
        }
    )


def _check_labels(model: ModelProfile, dataset: DatasetProfile) -> None:
    if dataset.labels != "class" or dataset.label_range is None:
        return
    lowest, highest = dataset.label_range
    try:
        check_classes(int(lowest), int(highest), model.outputs[0])
    except Misfit as misfit:
        raise refuse("dataset-mismatch", ("#/dataset", misfit.detail)) from misfit


def _resolve_input(wish: Input, model: ModelProfile, dataset: DatasetProfile, warnings: list[Notice]) -> Input:
    """The input declaration that makes every array fit its model input."""
    try:
        found = fit(wish, dataset.arrays, model.inputs)
    except Misfit as misfit:
        if misfit.field is None:
            raise refuse("dataset-mismatch", ("#/dataset", misfit.detail)) from misfit
        raise refuse("recipe-invalid", (f"#/recipe/input/{misfit.field}", misfit.detail)) from misfit
    if wish.scale is None and any(feed.input.scale == UINT8_SCALE for feed in found.feeds):
        warnings.append(
            Notice(
                code="input-scale-assumed",
                detail="input.scale was not given; uint8 images are scaled by 1/255. If the model was trained "
                "with another preprocessing, its accuracy here will be wrong: declare `input`.",
            )
        )
    return found.input


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    text = ", ".join(repr(name) for name in listed[:most])
    return text if len(listed) <= most else f"{text} and {len(listed) - most} more"
