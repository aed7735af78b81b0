"""The recipe: what a job asks for.

Only `target` is required. Every other field has the default a specialist would choose; fields that depend on the
model or the data are `None` here and filled by `service.contract.resolve`. A job echoes the filled recipe, so that a
run can be repeated from its answer.
"""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

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

Criterion = Literal[
    "random",
    "magnitude",
    "batchnorm",
    "lamp",
    "fpgm",
    "taylor",
    "fisher",
    "snip",
    "synflow",
    "grasp",
    "movement",
    "wanda",
    "sparsegpt",
    "activation",
]
Structured = Literal["channel", "head", "neuron", "embedding", "layer"]
Sparse = Literal["unstructured", "n:m", "block"]
Granularity = Literal["channel", "head", "neuron", "embedding", "layer", "unstructured", "n:m", "block"]
"""What may be removed: units that change the shapes (`Structured`), or single weights that become zero (`Sparse`)."""
SPARSE: tuple[Sparse, ...] = get_args(Sparse)
STRUCTURED: tuple[Structured, ...] = get_args(Structured)
Augmentation = Literal["flip", "crop"]

Fraction = Annotated[float, Field(gt=0.0, lt=1.0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class Strict(BaseModel):
    """A request object: unknown fields are refused, so that a typo fails instead of being ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Granularities = Annotated[
    list[Granularity],
    Field(min_length=1, max_length=8),
    BeforeValidator(_as_list, json_schema_input_type=Granularity | list[Granularity]),
]


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
    """What may be left of the dense model. Several targets are met all at once, each from the safe side.

    `macs` and `params` are fractions of the dense model to keep: 0.5 keeps half. `size_bytes` and `memory_bytes` are
    bytes, `latency` is milliseconds. `speedup` is a factor, and `sparsity` the share of weights that becomes zero, for
    the granularities that leave the shapes alone.
    """

    macs: Fraction | None = Field(None, description="Multiply-accumulates of one sample, pruned ÷ dense.")
    params: Fraction | None = Field(None, description="Parameters, pruned ÷ dense.")
    size_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(None, description="Bytes of `model.onnx`.")
    memory_bytes: Annotated[int, Field(ge=1, lt=2**63)] | None = Field(
        None,
        description="Bytes of the activations of one sample that are alive at one time, where that is the most. Each "
        "value of the graph counts from where it is made to where it is last read; weights do not.",
    )
    latency: Positive | None = Field(
        None,
        description="Milliseconds for one sample on one thread in ONNX Runtime, measured on the worker that runs the "
        "job: the median, with the upper end of its 95 % interval at or below this.",
    )
    speedup: Annotated[float, Field(gt=1, le=1000, allow_inf_nan=False)] | None = Field(
        None,
        description="How many times as fast as the dense model, measured in the same way with both taking turns: 2.0 "
        "is half the time. The lower end of the 95 % interval is at or above this.",
    )
    sparsity: Fraction | None = Field(
        None,
        description="Share of the weights set to zero, for the granularities `unstructured`, `n:m` and `block`.",
    )

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not self.asked:
            raise ValueError('name at least one target, for example {"macs": 0.5}')
        return self

    @property
    def asked(self) -> dict[str, float]:
        """The targets that are named."""
        return {name: value for name, value in self if value is not None}


class Schedule(Strict):
    """How the way to the target is divided. Scores are taken anew before each step."""

    kind: Literal["one_shot", "linear", "cubic", "exponential"] = Field(
        "linear",
        description="`one_shot` removes all at once; `linear` removes equal shares of the cost in each step; `cubic` "
        "takes most in the first steps; `exponential` takes the same share of what is left in each step.",
    )
    steps: Annotated[int, Field(ge=1, le=100)] = Field(4, description="Number of steps; `one_shot` has one.")
    epochs: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="Epochs of fine-tuning after each step but the last, which `finetune` follows."
    )
    rewind: Literal["none", "learning_rate", "weights"] = Field(
        "none",
        description="What each round of training starts from. `none`: the learning rate falls once over all rounds. "
        "`learning_rate`: its schedule starts anew in each round. `weights`: so it does, and what is left of the "
        "weights is put back to what was uploaded.",
    )


Pattern = Annotated[str, Field(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")]


class LayerRule(Strict):
    """An exception for the layers whose names match a pattern. Fields left out follow `prune`."""

    min_keep: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        None,
        description="At least this fraction of the layer's channels, or of its weights, stays. 1 protects the layer.",
    )
    granularity: Granularities | None = Field(None, description="What may be removed here, instead of elsewhere.")
    sparsity: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)] | None = Field(
        None, description="Exactly this share of the layer's weights becomes zero (`unstructured`, `block`)."
    )

    @model_validator(mode="after")
    def _something_is_said(self) -> Self:
        if self.min_keep is None and self.granularity is None and self.sparsity is None:
            raise ValueError("say min_keep, granularity or sparsity")
        return self


class Prune(Strict):
    """What is removed, and in what order."""

    granularity: Granularities | None = Field(
        None,
        description="What may be removed; a name or a list of names. `channel`: channels of convolutions; `head`: "
        "whole attention heads, with grouped queries whole key-value groups; `neuron`: hidden units of MLPs and "
        "recurrent layers; `embedding`: width of a residual stream that is normalised over; `layer`: whole blocks "
        "with a skip connection around them; `unstructured`, `n:m`, `block`: single weights, which become zero. "
        "Default: `channel`, `head` and `neuron`; with a `sparsity` target alone `unstructured`.",
    )
    criterion: Criterion | None = Field(
        None,
        description="What makes a weight or a unit important. Default: `taylor` with a dataset, else `magnitude`.",
    )
    norm: Literal["l1", "l2"] = Field("l2", description="Norm of `magnitude` and `activation`.")
    reduction: Literal["mean", "sum", "max", "min", "product"] = Field(
        "mean", description="How the scores of the layers that share a channel become one."
    )
    normalization: Literal["mean", "max", "sum", "standard", "none"] = Field(
        "mean", description="What the scores of a layer are divided by before they are reduced and compared."
    )
    balance: Literal["none", "class"] = Field(
        "none",
        description="`class`: a unit is as important as it is to the class that needs it most (criteria with labels).",
    )
    allocation: Literal["global", "uniform", "erk", "lamp", "isomorphic", "sensitivity"] = Field(
        "global",
        description="How much each layer gives. `global`: what is least important goes, wherever it is; `uniform`: the "
        "same share everywhere; `erk`: more from large layers (Erdős-Rényi kernel); `lamp`: by layer-adaptive "
        "magnitude; `isomorphic`: scores are compared among layers of the same kind; `sensitivity`: more from layers "
        "whose pruning alone changes the answers least.",
    )
    schedule: Schedule = Schedule()
    round_to: Annotated[int, Field(ge=1, le=256)] = Field(
        8, description="Channel counts are kept at multiples of this. ONNX Runtime computes in blocks of eight."
    )
    min_keep: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        0.1,
        description="No layer keeps less than this fraction of its channels, or of the weights that an even share of "
        "the zeros would leave it.",
    )
    compensate: bool = Field(
        True, description="Fold removed channels into the kept ones that predict them. Needs samples, no labels."
    )
    pattern: Pattern = Field("2:4", description="Of `n:m`: n of m neighbouring weights may differ from zero.")
    block: Annotated[list[Annotated[int, Field(ge=1, le=256)]], Field(min_length=2, max_length=2)] = Field(
        [1, 8], description="Of `block`: [outputs, inputs] of the tiles that become zero together."
    )
    protect: Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=1000)] = Field(
        [], description="Patterns (`layer1.*`) of layers whose outputs are never pruned."
    )
    layers: Annotated[dict[str, LayerRule], Field(max_length=1000)] = Field(
        {}, description="Rules by layer name pattern; the last pattern that matches wins."
    )

    @model_validator(mode="after")
    def _pattern_leaves_something_out(self) -> Self:
        kept, of = self.n_m
        if kept >= of:
            raise ValueError(f"pattern {self.pattern} sets nothing to zero; the first number has to be the smaller one")
        return self

    @property
    def n_m(self) -> tuple[int, int]:
        """(n, m) of `pattern`."""
        kept, _, of = self.pattern.partition(":")
        return int(kept), int(of)

    @property
    def structured(self) -> tuple[Structured, ...]:
        """The granularities of a resolved recipe that change shapes."""
        return tuple(name for name in STRUCTURED if name in (self.granularity or ()))

    @property
    def sparse(self) -> tuple[Sparse, ...]:
        """The granularities of a resolved recipe that set weights to zero."""
        return tuple(name for name in SPARSE if name in (self.granularity or ()))


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
