"""Fill a recipe's open fields from what is known about the model and the dataset, or say why it cannot work.

Runs before a job is queued, on the profiles that inspection left, so that a request that cannot succeed is answered at
once. What only the weights can decide (which augmentation the dense model survives, whether the exact budget can be
met) is left to the job.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from service.contract.fit import UINT8_SCALE, Misfit, check_classes, fit, takes_image
from service.contract.recipe import Finetune, Input, Prune, Recipe, Target
from service.contract.resources import DatasetProfile, FieldError, ModelProfile, Notice

__all__ = ["Resolved", "Unresolvable", "resolve"]

DEFAULT_LEARNING_RATE = {"sgd": 0.01, "adamw": 0.001}  # peaks of a short fine-tune, a tenth of training from scratch
DEFAULT_ROUND_TO = 8
DEFAULT_MIN_KEEP = 0.1


@dataclass(frozen=True)
class Resolved:
    """A recipe without open fields (but `finetune.augment`, which the job fills), and what its owner should know."""

    recipe: Recipe
    warnings: list[Notice] = field(default_factory=list)


class Unresolvable(Exception):
    """The recipe cannot work on this model and dataset. `code` is a problem slug."""

    def __init__(self, code: str, errors: list[FieldError]) -> None:
        super().__init__("; ".join(error.detail for error in errors))
        self.code = code
        self.errors = errors


def resolve(recipe: Recipe, model: ModelProfile, dataset: DatasetProfile | None) -> Resolved:
    """Return the recipe with every default filled in.

    Raises:
        Unresolvable: `dataset-mismatch` when the samples or labels do not fit the model, `recipe-invalid` when a field
            asks for what the model or dataset cannot give, `target-unreachable` when the budget is too small.
    """
    warnings: list[Notice] = []
    _check_patterns(recipe.prune, model)
    _check_target(recipe.target, recipe.prune, model)
    if dataset is None:
        return Resolved(_without_data(recipe, model), warnings)
    resolved_input = _resolve_input(recipe.input, model, dataset, warnings)
    _check_labels(model, dataset)
    return Resolved(
        recipe.model_copy(
            update={
                "input": resolved_input,
                "prune": _resolve_prune(recipe.prune, model, has_data=True),
                "finetune": _resolve_finetune(recipe.finetune, model, dataset),
            }
        ),
        warnings,
    )


def _refuse(code: str, *errors: tuple[str, str]) -> Unresolvable:
    return Unresolvable(code, [FieldError(pointer=pointer, detail=detail) for pointer, detail in errors])


def _check_patterns(prune: Prune, model: ModelProfile) -> None:
    names = [layer.name for layer in model.layers]
    patterns = [(f"#/recipe/prune/protect/{i}", pattern) for i, pattern in enumerate(prune.protect)]
    patterns += [(f"#/recipe/prune/layers/{_escape(pattern)}", pattern) for pattern in prune.layers]
    unmatched = [
        (pointer, f"{pattern!r} matches no layer of this model; its layers are {_some(names)}")
        for pointer, pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if unmatched:
        raise _refuse("recipe-invalid", *unmatched)


def _check_target(target: Target, prune: Prune, model: ModelProfile) -> None:
    """The limits in the profile hold for the default rules; stricter rules can only raise them."""
    if not model.prunable.components:
        raise _refuse(
            "target-unreachable",
            (
                "#/recipe/target",
                "nothing in this model can be pruned; see `blocked` of the model for the ops in the way",
            ),
        )
    rules_are_looser = (
        prune.round_to < DEFAULT_ROUND_TO
        or prune.min_keep < DEFAULT_MIN_KEEP
        or any(rule.min_keep < DEFAULT_MIN_KEEP for rule in prune.layers.values())
    )
    if rules_are_looser:
        return
    limits = (("macs", target.macs, model.prunable.min_macs), ("params", target.params, model.prunable.min_params))
    errors = [
        (
            f"#/recipe/target/{name}",
            f"{asked} is below {limit:.4f}, the smallest fraction of {name} this model can reach with these rules; "
            "ask for more, lower prune.min_keep, or use a smaller prune.round_to",
        )
        for name, asked, limit in limits
        if asked is not None and asked < limit
    ]
    if errors:
        raise _refuse("target-unreachable", *errors)


def _without_data(recipe: Recipe, model: ModelProfile) -> Recipe:
    """A data-free prune: weights alone decide, nothing is trained."""
    errors = []
    if recipe.prune.criterion == "taylor":
        errors.append(("#/recipe/prune/criterion", "'taylor' needs a dataset; name one, or use 'magnitude'"))
    if "epochs" in recipe.finetune.model_fields_set and recipe.finetune.epochs > 0:
        errors.append(("#/recipe/finetune/epochs", "fine-tuning needs a dataset; name one, or ask for 0 epochs"))
    if errors:
        raise _refuse("recipe-invalid", *errors)
    finetune = recipe.finetune.model_copy(
        update={
            "epochs": 0,
            "distill": None,
            "recalibrate": False,
            "augment": [],
            "learning_rate": recipe.finetune.learning_rate or DEFAULT_LEARNING_RATE[recipe.finetune.optimizer],
        }
    )
    return recipe.model_copy(
        update={"finetune": finetune, "prune": _resolve_prune(recipe.prune, model, has_data=False)}
    )


def _resolve_prune(prune: Prune, model: ModelProfile, *, has_data: bool) -> Prune:
    if prune.criterion == "batchnorm" and model.normalization != "batch_norm":
        raise _refuse(
            "recipe-invalid",
            (
                "#/recipe/prune/criterion",
                "'batchnorm' needs batch norm layers and this model has none (an ONNX export folds them into the "
                "convolutions); upload the .pt2, or use 'taylor' or 'magnitude'",
            ),
        )
    return prune.model_copy(
        update={
            "criterion": prune.criterion or ("taylor" if has_data else "magnitude"),
            "compensate": prune.compensate and has_data,
        }
    )


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
        raise _refuse("recipe-invalid", *errors)
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
        raise _refuse("dataset-mismatch", ("#/dataset", misfit.detail)) from misfit


def _resolve_input(wish: Input, model: ModelProfile, dataset: DatasetProfile, warnings: list[Notice]) -> Input:
    """The input declaration that makes every array fit its model input."""
    try:
        found = fit(wish, dataset.arrays, model.inputs)
    except Misfit as misfit:
        if misfit.field is None:
            raise _refuse("dataset-mismatch", ("#/dataset", misfit.detail)) from misfit
        raise _refuse("recipe-invalid", (f"#/recipe/input/{misfit.field}", misfit.detail)) from misfit
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


def _escape(token: str) -> str:
    """A JSON pointer token (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")
