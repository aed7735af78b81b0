"""Fill a recipe's open fields from what is known about the model and the dataset, or say why it cannot work.

Runs before a job is queued, on the profiles that inspection left, so that a request that cannot succeed is answered at
once. What only the weights can decide (which augmentation the dense model survives, whether the exact budget can be
met) is left to the job.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from service.contract.recipe import Finetune, Input, Prune, Recipe, Target
from service.contract.resources import ArrayInfo, DatasetProfile, FieldError, ModelProfile, Notice, TensorInfo

__all__ = ["Resolved", "Unresolvable", "resolve"]

DEFAULT_LEARNING_RATE = {"sgd": 0.01, "adamw": 0.001}  # peaks of a short fine-tune, a tenth of training from scratch
UINT8_SCALE = 1 / 255
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
    return prune.model_copy(update={"criterion": prune.criterion or ("taylor" if has_data else "magnitude")})


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
    images = any(len(tensor.shape) == 4 for tensor in model.inputs)
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
    output = model.outputs[0]
    if dataset.labels != "class" or dataset.label_range is None or len(output.shape) != 2:
        return
    width = output.shape[1]
    highest = int(dataset.label_range[1])
    if isinstance(width, int) and width > 1 and highest >= width:
        raise _refuse(
            "dataset-mismatch",
            (
                "#/dataset",
                f"the dataset has a label {highest}, but output {output.name!r} of the model has {width} classes "
                f"(0 to {width - 1})",
            ),
        )


def _resolve_input(wish: Input, model: ModelProfile, dataset: DatasetProfile, warnings: list[Notice]) -> Input:
    """The input declaration that makes every array fit its model input; images are inputs of rank four."""
    resolved = wish
    for tensor in model.inputs:
        array = _array_for(tensor, model, dataset)
        if len(tensor.shape) == 4:
            resolved = _resolve_image(wish, tensor, array, warnings)
        elif not _fits(tuple(array.shape[1:]), tensor):
            raise _refuse("dataset-mismatch", ("#/dataset", _mismatch(array, tensor)))
    return resolved


def _array_for(tensor: TensorInfo, model: ModelProfile, dataset: DatasetProfile) -> ArrayInfo:
    by_name = {array.name: array for array in dataset.arrays}
    if tensor.name in by_name:
        return by_name[tensor.name]
    if len(model.inputs) == len(dataset.arrays) == 1:
        return dataset.arrays[0]
    raise _refuse(
        "dataset-mismatch",
        (
            "#/dataset",
            f"the model's inputs are {_some(t.name for t in model.inputs)}, the dataset's arrays are {_some(by_name)}; "
            f"name an array {tensor.name!r}",
        ),
    )


def _resolve_image(wish: Input, tensor: TensorInfo, array: ArrayInfo, warnings: list[Notice]) -> Input:
    sample = tuple(array.shape[1:])
    layouts = [wish.layout] if wish.layout else ["nchw", "nhwc"]
    for layout in layouts:
        chw = _to_chw(sample, layout, wish.resize)
        if chw is not None and _fits(chw, tensor):
            if wish.scale is None and array.dtype == "uint8":
                warnings.append(
                    Notice(
                        code="input-scale-assumed",
                        detail="input.scale was not given; uint8 images are scaled by 1/255. If the model was trained "
                        "with another preprocessing, its accuracy here will be wrong: declare `input`.",
                    )
                )
            channels = tensor.shape[1]
            for name, values in (("mean", wish.mean), ("std", wish.std)):
                if values is not None and isinstance(channels, int) and len(values) not in (1, channels):
                    raise _refuse(
                        "recipe-invalid",
                        (f"#/recipe/input/{name}", f"has {len(values)} values, the images have {channels} channels"),
                    )
            return wish.model_copy(
                update={
                    "layout": layout,
                    "scale": wish.scale or (UINT8_SCALE if array.dtype == "uint8" else 1.0),
                    "mean": wish.mean or [0.0],
                    "std": wish.std or [1.0],
                }
            )
    raise _refuse("dataset-mismatch", ("#/dataset", _mismatch(array, tensor) + "; set input.layout or input.resize"))


def _to_chw(sample: tuple[int, ...], layout: str, resize: list[int] | None) -> tuple[int, ...] | None:
    if len(sample) == 2:
        sample = (1, *sample) if layout == "nchw" else (*sample, 1)
    if len(sample) != 3:
        return None
    channels, height, width = sample if layout == "nchw" else (sample[2], sample[0], sample[1])
    return (channels, *resize) if resize else (channels, height, width)


def _fits(sample: tuple[int, ...], tensor: TensorInfo) -> bool:
    wanted = tensor.shape[1:]
    return len(sample) == len(wanted) and all(isinstance(w, str) or w == s for s, w in zip(sample, wanted, strict=True))


def _mismatch(array: ArrayInfo, tensor: TensorInfo) -> str:
    return f"array {array.name!r} has shape {array.shape}, input {tensor.name!r} of the model takes {tensor.shape}"


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    text = ", ".join(repr(name) for name in listed[:most])
    return text if len(listed) <= most else f"{text} and {len(listed) - most} more"


def _escape(token: str) -> str:
    """A JSON pointer token (RFC 6901 §3)."""
    return token.replace("~", "~0").replace("/", "~1")
