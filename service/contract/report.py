"""`report.json`: what pruning gained, what it cost, and how sure we are.

Rates and differences are in percentage points unless said otherwise; a *drop* is positive when the pruned model is
worse. Two comparisons are always told apart: `vs_original` (dense as uploaded against pruned: what users will feel) and
`vs_twin` (an unpruned copy that went through the same recalibration and fine-tuning against pruned: what pruning
caused). Gates judge `vs_twin`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.contract.recipe import Recipe, Sparse
from service.contract.resources import Notice, Verdict

__all__ = [
    "ArmEvaluation",
    "Benefits",
    "Calibration",
    "ClassComparison",
    "Comparison",
    "Drop",
    "EpochRecord",
    "Exemplar",
    "FileSize",
    "Gate",
    "Interval",
    "LatencyRow",
    "LayerChange",
    "LayerSparsity",
    "NotAssessed",
    "Power",
    "Report",
    "Sparsity",
    "SplitInfo",
    "Structure",
    "TargetResult",
    "TestResult",
    "Training",
]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Interval = Annotated[list[float], Field(min_length=2, max_length=2)]


class NotAssessed(Section):
    """A question this run cannot answer, why, and what would let it."""

    what: str
    why: str
    needs: str


class Drop(Section):
    """A loss in points with its 95 % interval and the upper bound that the pass rule uses."""

    est: float
    ci95: Interval
    upper_one_sided: float = Field(description="Upper bound at 1 − alpha, one-sided.")
    lower_one_sided: float
    method: str


class TestResult(Section):
    p: float
    p_holm: float


class Power(Section):
    """What this many samples could have shown."""

    detectable_drop: float | None = Field(
        description="Smallest net drop found with 80 % power at the first Holm step; null: none."
    )
    samples_for_margin: int = Field(description="Samples that would show non-inferiority (80 % power, true drop 0).")
    samples_to_settle: int | None = Field(
        None, description="Samples that would decide either way if the drop is what it seems; null: next to the margin."
    )
    can_pass: bool
    can_fail: bool


class ClassComparison(Section):
    """One class, reference against pruned."""

    id: int
    name: str
    n: int
    lost: int = Field(description="Reference right, pruned wrong.")
    gained: int = Field(description="Reference wrong, pruned right.")
    recall_ref: float | None = Field(description="Per cent; null without samples.")
    recall: float | None
    drop: Drop
    mcnemar: TestResult
    relative: Drop = Field(description="Drop of this class minus the drop of all other samples.")
    relative_test: TestResult
    power: Power
    status: Verdict = Field(description="Against the margin for one class (G3).")
    relative_status: Verdict = Field("NOT_RUN", description="Against all other samples (G4).")
    message: str


class Comparison(Section):
    """Pruned against a reference on the confirm split."""

    reference: Literal["dense", "twin"]
    n: int
    accuracy_ref: float | None = Field(description="Per cent; null without labels.")
    accuracy: float | None
    drop: Drop | None = Field(description="Of accuracy; for regression of R² in points.")
    disagreement: float | None = Field(description="Per cent of samples whose answer changed; null for regression.")
    disagreement_ci95: Interval | None
    negative_flips: float | None = Field(description="Per cent right → wrong.")
    positive_flips: float | None = Field(description="Per cent wrong → right.")
    kl: float | None = Field(description="Mean KL(reference ‖ pruned), nats; null for regression.")
    js: float | None = Field(description="Mean Jensen-Shannon divergence, nats, at most ln 2; null for regression.")
    mse: float | None = Field(None, description="Regression: mean squared error of pruned minus that of the reference.")
    r2_ref: float | None = Field(None, description="Regression: explained variance of the reference, per cent.")
    r2: float | None = None
    classes: list[ClassComparison]


class ArmEvaluation(Section):
    """One network (dense, twin or pruned) on its own."""

    arm: Literal["dense", "twin", "pruned"]
    loss: float | None
    accuracy: float | None
    train_accuracy: float | None = Field(description="On un-augmented training samples.")
    generalization_gap: float | None = Field(description="train_accuracy − accuracy.")
    recall: list[float | None] = Field(description="Per class, per cent; empty without labels.")
    ece: float | None = Field(description="Expected calibration error, 15 bins, points.")
    predicted: list[int] = Field([], description="How often each class was answered.")
    train_loss: float | None = Field(None, description="Regression: mean squared error on training samples.")
    r2: float | None = Field(None, description="Regression: explained variance of the labels, per cent.")


class Calibration(Section):
    """Change of the expected calibration error, pruned − twin, with a paired bootstrap."""

    ece_ref: float
    ece: float
    change: float
    ci95: Interval
    overconfidence_change: float


class LayerChange(Section):
    name: str
    op: str
    group: str | None
    channels: int
    channels_kept: int
    requested_keep: float | None = Field(description="Fraction a rule asked to keep at least; null without a rule.")
    params: int
    params_kept: int
    macs: int
    macs_kept: int
    gone: bool = Field(False, description="It went with its block: nothing is meant to be left of it.")


class LayerSparsity(Section):
    """The weight of a layer. A grouped convolution has the inputs of one group."""

    name: str
    granularity: Sparse | None = Field(description="null: the layer was to stay dense.")
    entries: int
    zeros: int
    contributing: int | None = Field(description="Entries on a path from an input to an output; null: unknown.")
    units: int = Field(description="Output channels.")
    empty_units: int = Field(description="Output channels all of whose weights are zero: their answer is constant.")
    why_dense: str | None


class Sparsity(Section):
    """Zeros that leave the shapes alone, counted in the weights that are shipped."""

    requested: float = Field(description="Share of zeros that was asked for.")
    entries: int = Field(description="Weights of the layers that took part.")
    zeros: int
    sparsity: float = Field(description="zeros ÷ entries.")
    of_all_parameters: float = Field(description="zeros ÷ all parameters of the pruned network.")
    effective: float | None = Field(
        description="Share of the entries that are zero or lie on no path from an input to an output."
    )
    empty_units: int
    layers: list[LayerSparsity]


class Structure(Section):
    layers: list[LayerChange]
    empty_layers: list[str]
    dead_channels: int = Field(description="Channels whose ReLU answered 0 on every calibration sample, pruned.")
    dead_channels_dense: int
    max_relative_error: float = Field(
        description="Pruned graph against masked dense graph on random input (self-check)."
    )
    blocked: list[str]
    sparsity: Sparsity | None = Field(None, description="null where no single weights were set to zero.")


class FileSize(Section):
    name: str
    size_bytes: int


class LatencyRow(Section):
    """ONNX Runtime, dense and pruned interleaved, medians in milliseconds."""

    batch: int
    threads: int
    dense_ms: float
    pruned_ms: float
    dense_iqr_ms: Interval
    pruned_iqr_ms: Interval
    pruned_ci95_ms: Interval | None = Field(None, description="95 % interval of the median of the pruned file.")
    ratio: float = Field(description="pruned ÷ dense.")
    ratio_ci95: Interval | None = Field(None, description="95 % interval of the median of pruned ÷ dense, run by run.")
    runs: int


class TargetResult(Section):
    """A target: what was asked, what the files that are shipped have, and how far the recipe could go on this model."""

    name: str
    asked: float
    reached: float
    ci95: Interval | None = Field(None, description="95 % interval of `reached`, where it was measured in runs.")
    limit: float | None = Field(
        None, description="The least that the rules of the recipe allow, the most for `speedup` and `sparsity`."
    )
    met: bool = Field(description="With the unfavourable end of the interval, where there is one.")


class Benefits(Section):
    targets: list[TargetResult] = Field([], description="Every target of the recipe. A job that misses one fails.")
    macs: int
    macs_dense: int
    macs_ratio: float
    macs_requested: float | None
    params: int
    params_dense: int
    params_ratio: float
    params_requested: float | None
    onnx: FileSize
    onnx_dense: FileSize
    compressed: FileSize | None = Field(None, description="The ONNX file under zstd, where weights were set to zero.")
    compressed_dense: FileSize | None = Field(None, description="The dense ONNX file, compressed the same way.")
    latency: list[LatencyRow]
    latency_provider: str | None


class EpochRecord(Section):
    arm: Literal["twin", "pruned"]
    epoch: int = Field(description="0 is the state before the first update.")
    learning_rate: float
    train_loss: float | None
    tuning_loss: float | None
    tuning_accuracy: float | None
    worst_recall: float | None
    chosen: bool


class Training(Section):
    treatment: list[str] = Field(description="What both arms went through: recalibrate, finetune, distill.")
    epochs: list[EpochRecord]
    recalibration_samples: int


class SplitInfo(Section):
    n: int
    sha256: str = Field(description="Of the sorted content hashes of its samples.")
    labels: bool


class Gate(Section):
    id: str
    title: str
    status: Verdict
    reason: str
    required: bool = True


class Exemplar(Section):
    """A sample whose answer changed. Not a PIE: one pair of networks cannot show that it is systematic."""

    index: int = Field(description="Row in the uploaded dataset.")
    label: str | None
    twin: str
    pruned: str
    js: float
    image: str | None = Field(None, description="data: URI of a small PNG, for image datasets.")


class ExportCheck(Section):
    """The file that was written, run in ONNX Runtime and compared with torch."""

    opset: int
    max_abs_error: float
    max_rel_error: float
    accuracy: float | None = Field(description="Of model.onnx on the confirm split, per cent.")
    agrees_with_torch: float | None = Field(description="Per cent of samples with the same answer as in torch.")


class Finding(Section):
    """One of the risks or benefits the service exists to report, in words."""

    summary: str
    details: list[str] = []


class Reproduce(Section):
    versions: dict[str, str]
    seed: int
    command: str


class Report(Section):
    schema_: Literal["secateur-report/1"] = Field("secateur-report/1", alias="schema")
    report_id: str
    created_at: str
    model: dict[str, str]
    dataset: dict[str, str] | None
    recipe: Recipe
    verdict: Verdict
    verdict_reasons: list[str]
    task: Literal["classification", "regression", "unlabelled"] = "classification"
    claim_scope: Literal["this_artifact"] = "this_artifact"
    evidence_tier: int
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
    benefits: Benefits
    training: Training
    export_check: ExportCheck
    gates: list[Gate]
    exemplars: list[Exemplar]
    sparsity: Finding | None = Field(None, description="What zeros that leave the shapes alone bought.")
    loss_of_information: Finding
    bias: Finding
    sensitivity: Finding
    generalization: Finding
    suggestions: list[str] = Field(description="What would probably help, most promising first.")
    warnings: list[Notice]
    reproduce: Reproduce

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)
