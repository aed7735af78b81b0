"""The recipe: what a job asks for.

Only `target` is required. Every other field has the default a specialist would choose; fields that depend on the
model or the data are `None` here and filled by `service.contract.resolve`. A job echoes the filled recipe, so that a
run can be repeated from its answer.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Audit",
    "Augmentation",
    "Criterion",
    "Distill",
    "Export",
    "Finetune",
    "Input",
    "LayerRule",
    "Margins",
    "Prune",
    "Recipe",
    "Schedule",
    "Target",
]

Criterion = Literal["magnitude", "taylor", "batchnorm", "random"]
Augmentation = Literal["flip", "crop"]

Fraction = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """A request object: unknown fields are refused, so that a typo fails instead of being ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Input(Strict):
    """How the samples of the dataset become the input of the model: `(resize(x) * scale - mean) / std`, in `nchw`."""

    layout: Literal["nchw", "nhwc"] | None = Field(
        None, description="Axis order of image samples. Default: the order whose shape fits the model's input."
    )
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="Factor applied to the stored values. Default: 1/255 for uint8, 1 for floats."
    )
    mean: Annotated[list[Finite], Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Subtracted per channel after scaling. Default: 0."
    )
    std: Annotated[list[Positive], Field(min_length=1, max_length=4096)] | None = Field(
        None, description="Divides per channel after the mean is subtracted. Default: 1."
    )
    resize: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=2, max_length=2)] | None = Field(
        None, description="[height, width] to resize images to (bilinear, antialiased). Default: no resizing."
    )

    @model_validator(mode="after")
    def _mean_and_std_agree(self) -> Self:
        mean, std = self.mean or [0.0], self.std or [1.0]
        if 1 not in (len(mean), len(std)) and len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} values and std has {len(std)}; give one per channel in both")
        return self


class Target(Strict):
    """What may be left of the dense model, as fractions of it: 0.5 keeps half. With two targets both are met."""

    macs: Fraction | None = Field(None, description="Multiply-accumulates of one sample, pruned ÷ dense.")
    params: Fraction | None = Field(None, description="Parameters, pruned ÷ dense.")

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if self.macs is None and self.params is None:
            raise ValueError('name at least one target, for example {"macs": 0.5}')
        return self


class Schedule(Strict):
    """How the way to the target is divided. Scores are taken anew before each step."""

    kind: Literal["one_shot", "linear"] = Field(
        "linear", description="`one_shot` removes all at once; `linear` removes equal shares of the cost in each step."
    )
    steps: Annotated[int, Field(ge=1, le=100)] = Field(4, description="Number of steps of the linear schedule.")


class LayerRule(Strict):
    """An exception for the layers whose names match a pattern."""

    min_keep: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        description="At least this fraction of the layer's channels stays. 1 protects the layer."
    )


class Prune(Strict):
    """What is removed, and in what order."""

    granularity: Literal["channel"] = "channel"
    criterion: Criterion | None = Field(
        None, description="What makes a channel important. Default: `taylor` with a dataset, else `magnitude`."
    )
    norm: Literal["l1", "l2"] = Field("l2", description="Norm of the `magnitude` criterion.")
    scope: Literal["global", "layer"] = Field(
        "global",
        description="`global` compares channels of the whole network; `layer` takes the same share everywhere.",
    )
    schedule: Schedule = Schedule()
    round_to: Annotated[int, Field(ge=1, le=256)] = Field(
        8, description="Channel counts are kept at multiples of this. ONNX Runtime computes in blocks of eight."
    )
    min_keep: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        0.1, description="No layer keeps less than this fraction of its channels."
    )
    compensate: bool = Field(
        True, description="Fold removed channels into the kept ones that predict them. Needs samples, no labels."
    )
    protect: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=1000)] = Field(
        [], description="Patterns (`layer1.*`) of layers whose outputs are never pruned."
    )
    layers: Annotated[dict[str, LayerRule], Field(max_length=1000)] = Field(
        {}, description="Rules by layer name pattern; the last pattern that matches wins."
    )


class Distill(Strict):
    """Distillation from the dense model: `weight · T² · KL(dense ‖ pruned) + (1 − weight) · loss(labels)`, and
    `features` times the squared difference of the inner activations, relative to their size."""

    weight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.9
    temperature: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 4.0
    features: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] = Field(
        5.0, description="Weight of matching the dense model's activations in the channels that are left; 0 is off."
    )


class Finetune(Strict):
    """How accuracy is won back. The same is done to an unpruned twin: the audit tells the two causes apart."""

    epochs: Annotated[int, Field(ge=0, le=1000)] = Field(
        3, description="0 only recalibrates the batch norm statistics."
    )
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Peak of the cosine schedule. Default: 0.01 for sgd, 0.001 for adamw."
    )
    weight_decay: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 5e-4
    momentum: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(0.9, description="Of sgd.")
    warmup: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] = Field(
        0.05, description="Share of all updates in which the learning rate rises to its peak."
    )
    loss: Literal["cross_entropy", "mse"] | None = Field(
        None, description="Default: `cross_entropy` for integer labels, `mse` for real-valued ones."
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="`balanced` weighs classes by 1 ÷ their frequency."
    )
    augment: list[Augmentation] | None = Field(
        None,
        description="Default: `crop` for images, and `flip` where the dense model's answers survive it.",
    )
    distill: Distill | None = Field(Distill(), description="null trains on the labels alone.")
    recalibrate: bool = Field(
        True, description="Re-measure batch norm statistics on the calibration split after pruning."
    )


class Margins(Strict):
    """The harm that is tolerated, in percentage points."""

    accuracy: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    per_class: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 5.0
    relative: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 2.0


class Audit(Strict):
    """How the result is judged."""

    policy: Literal["default"] = "default"
    alpha: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = Field(
        0.05, description="Error rate of each gate."
    )
    margins: Margins = Margins()
    calibration_samples: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        2560, description="Samples used for scores and batch norm statistics."
    )


class Export(Strict):
    """What the exported files look like."""

    opset: Annotated[int, Field(ge=18, le=23)] = Field(20, description="ONNX operator set of `model.onnx`.")
    latency: bool = Field(True, description="Measure dense and pruned side by side in ONNX Runtime.")


class Recipe(Strict):
    """A pruning request. `{"target": {"macs": 0.5}}` is a complete one."""

    input: Input = Input()
    target: Target
    prune: Prune = Prune()
    finetune: Finetune = Finetune()
    audit: Audit = Audit()
    export: Export = Export()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
