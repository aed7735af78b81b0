"""The resources of the API, as they are sent and stored. All times are RFC 3339 in UTC, all sizes bytes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.contract.prunable import (
    BlockedOp,
    GranularityReach,
    LayerInfo,
    Prunable,
    PrunableBlock,
    PrunableGroup,
    Reach,
    SparseReach,
)
from service.contract.recipe import Recipe

__all__ = [
    "TERMINAL_STATES",
    "ArrayInfo",
    "Artifact",
    "ArtifactList",
    "BlockedOp",
    "Dataset",
    "DatasetProfile",
    "Event",
    "EventLevel",
    "EventList",
    "FieldError",
    "GranularityReach",
    "Job",
    "JobError",
    "JobRequest",
    "JobResult",
    "JobState",
    "LayerInfo",
    "Model",
    "ModelProfile",
    "Notice",
    "Page",
    "Plan",
    "PlanEstimate",
    "PlanTarget",
    "Problem",
    "Progress",
    "Prunable",
    "PrunableBlock",
    "PrunableGroup",
    "Reach",
    "SparseReach",
    "TensorInfo",
    "UploadState",
    "Verdict",
]

# No control characters: PostgreSQL stores no NUL in a text, and no terminal should be given the others.
_NAME = r"^[^\x00-\x1f\x7f]+$"

# Crockford base 32 of a 48-bit millisecond clock and 80 random bits: sorts by time, fits in a URL.
_ULID = "[0-9a-hjkmnp-tv-z]{26}"
ModelID = Annotated[str, StringConstraints(pattern=f"^mdl_{_ULID}$")]
DatasetID = Annotated[str, StringConstraints(pattern=f"^dts_{_ULID}$")]
JobID = Annotated[str, StringConstraints(pattern=f"^job_{_ULID}$")]


class Out(BaseModel):
    """An answer. Clients ignore fields they do not know, so fields may be added."""

    model_config = ConfigDict(frozen=True)


class FieldError(Out):
    """One thing wrong with a request, and where."""

    pointer: str = Field(description="JSON pointer into the body (`#/recipe/target/macs`), or the name of a parameter.")
    detail: str


class Problem(Out):
    """RFC 9457. `type` names the kind, is stable, and can be opened for an explanation."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="The slug at the end of `type`.")
    instance: str | None = None
    request_id: str | None = None
    errors: list[FieldError] = []


class JobError(Out):
    """Why a job or an upload failed. The request that asks for it is a 200 all the same."""

    type: str
    code: str
    title: str
    detail: str
    stage: str | None = None
    retryable: bool = False


class Notice(Out):
    """Something that did not stop the job and that its owner should know."""

    code: str
    detail: str


class UploadState(StrEnum):
    INSPECTING = "inspecting"
    READY = "ready"
    REJECTED = "rejected"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


TERMINAL_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT_RUN"]


class TensorInfo(Out):
    """A named input or output. Dimensions are numbers, or names where the size is free (`"batch"`)."""

    name: str
    shape: list[int | str]
    dtype: str


class ModelProfile(Out):
    """What a worker found in an uploaded model."""

    format: Literal["pt2", "onnx"]
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    parameters: int
    macs: int = Field(description="Multiply-accumulates for one sample.")
    layers: list[LayerInfo]
    prunable: Prunable
    blocked: list[BlockedOp]
    normalization: Literal["batch_norm", "folded_or_none"]
    size_bytes: int | None = Field(None, description="Of the dense model as ONNX, estimated.")
    memory_bytes: int | None = Field(
        None, description="Largest sum of activations alive at one time, for one sample of the dense model."
    )
    warnings: list[Notice] = []


class ArrayInfo(Out):
    name: str
    shape: list[int]
    dtype: str


class DatasetProfile(Out):
    """What a worker found in an uploaded dataset."""

    format: Literal["npz", "images"]
    arrays: list[ArrayInfo] = Field(description="Model inputs, by the name of the input (or `x` where there is one).")
    samples: int
    labels: Literal["class", "real", "none"]
    classes: int | None
    class_names: list[str] | None
    label_range: list[float] | None
    splits: dict[str, int] = Field(description="Samples by split as uploaded: `train`, `test`, or `all`.")
    class_counts: list[int] | None = None
    groups: dict[str, int] | None = Field(None, description="Samples by group, where groups were given.")
    warnings: list[Notice] = []


class Upload(Out):
    id: str
    object: str
    name: str
    sha256: str
    size_bytes: int
    status: UploadState
    error: JobError | None = None
    created_at: datetime


class Model(Upload):
    id: ModelID
    object: Literal["model"] = "model"
    profile: ModelProfile | None = None


class Dataset(Upload):
    id: DatasetID
    object: Literal["dataset"] = "dataset"
    profile: DatasetProfile | None = None


Metadata = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=64)],
        Annotated[str, Field(max_length=512)],
    ],
    Field(max_length=16),
]


class JobRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelID
    dataset: DatasetID | None = Field(None, description="Without one the prune is data-free and bias is not assessed.")
    recipe: Recipe
    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NAME)] | None = None
    metadata: Metadata = {}


class Progress(Out):
    fraction: Annotated[float, Field(ge=0, le=1)]
    message: str
    eta_seconds: float | None = None


class JobResult(Out):
    """The report in a nutshell; the whole is at `/v1/jobs/{id}/report`."""

    macs: int
    macs_ratio: float = Field(description="Pruned ÷ dense, what `target.macs` asked for.")
    params: int
    params_ratio: float
    size_bytes: int | None = None
    dense_size_bytes: int | None = None
    latency_ratio: float | None = Field(None, description="Pruned ÷ dense, median, one thread, batch 1, ONNX Runtime.")
    accuracy: float | None = Field(None, description="Per cent, on the confirm split.")
    accuracy_dense: float | None = None
    accuracy_twin: float | None = Field(None, description="Of the unpruned model after the same treatment.")
    worst_class: str | None = None
    worst_class_drop: float | None = Field(None, description="Points against the twin.")
    reasons: list[str] = Field([], description="Why the verdict is what it is.")


class Job(Out):
    id: JobID
    object: Literal["job"] = "job"
    name: str | None
    model: str
    dataset: str | None
    status: JobState
    done: bool
    stage: str | None = Field(
        description="Open set: load, profile, baseline, prune, finetune, audit, export, verify, publish."
    )
    progress: Progress
    verdict: Verdict | None
    recipe: Recipe = Field(description="Every default filled in: submit it to repeat the run.")
    result: JobResult | None = None
    error: JobError | None = None
    warnings: list[Notice] = []
    metadata: dict[str, str] = {}
    attempt: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class PlanEstimate(Out):
    macs: int
    macs_ratio: float
    params: int
    params_ratio: float
    size_bytes: int | None = None
    memory_bytes: int | None = None


class PlanTarget(Out):
    """One target. Null where only the job can tell."""

    name: str
    asked: float
    estimate: float | None = Field(description="What is left where all targets are met, in the unit of the target.")
    limit: float | None = Field(
        description="The least that can be asked for with these granularities by default; of `sparsity` the most."
    )


class Plan(Out):
    """What a job would do: the answer to `?validate_only=true`."""

    object: Literal["plan"] = "plan"
    recipe: Recipe
    dense: PlanEstimate
    estimate: PlanEstimate
    targets: list[PlanTarget] = []
    groups: int
    components: int
    granularities: list[GranularityReach] = Field([], description="Each that is allowed, by itself, and then together.")
    stages: list[str]
    artifacts: list[str] = Field([], description="Files that the job will make.")
    evidence_tier: int = Field(description="0 structure only, 1 unlabelled data, 2 labels, 3 groups.")
    not_assessed: list[Notice]
    warnings: list[Notice]


EventLevel = Literal["info", "warning", "error"]


class Event(Out):
    """`seq` counts from 1 within a job, without gaps; it is the SSE id."""

    seq: int
    created_at: datetime
    level: EventLevel
    type: str = Field(description="Open set: `state`, `stage`, `log`, `metrics`, `progress`, `done`.")
    message: str
    data: dict[str, Any] = {}


class Artifact(Out):
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    url: str
    created_at: datetime


class Page(Out):
    """One page of a list. `next_cursor: null` is the end."""

    object: Literal["list"] = "list"
    next_cursor: str | None


class ModelList(Page):
    data: list[Model]


class DatasetList(Page):
    data: list[Dataset]


class JobList(Page):
    data: list[Job]


class EventList(Page):
    data: list[Event]


class ArtifactList(Page):
    data: list[Artifact]
