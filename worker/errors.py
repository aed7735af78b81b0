"""Why a job or an inspection failed: the fault of its input. What is our fault ends as `internal-error`.

JobFailed
├── UnreadableModel          the upload is not a model we read
│   ├── UnsafeModel          it is a program (pickle, TorchScript): refused, with the way out
│   ├── MalformedModel       broken archive, broken JSON, sizes that do not fit
│   └── UnsupportedModel     an op, a dtype or a feature without support
├── UnreadableDataset
│   ├── UnsafeDataset        pickled objects, path traversal, bombs
│   ├── MalformedDataset
│   └── MismatchedDataset    does not fit the model or its own labels
├── TargetUnreachable        the budget cannot be met; names the limit
├── NothingRemoved           a prune that removed nothing
├── SelfCheckFailed          pruned and masked dense graph differ (our fault, but exact)
├── TrainingDiverged         NaN or infinite loss
├── OutOfMemory              the limit was reached; names it
├── TimeLimit                CPU time or no progress
└── ExportMismatch           ONNX Runtime answers differently from torch
"""

from typing import ClassVar

__all__ = [
    "ExportMismatch",
    "JobFailed",
    "MalformedDataset",
    "MalformedModel",
    "MismatchedDataset",
    "NothingRemoved",
    "OutOfMemory",
    "SelfCheckFailed",
    "TargetUnreachable",
    "TimeLimit",
    "TrainingDiverged",
    "UnreadableDataset",
    "UnreadableModel",
    "UnsafeDataset",
    "UnsafeModel",
    "UnsupportedModel",
]


class JobFailed(Exception):
    """Base: `detail` names the thing, the value and the way out."""

    code: ClassVar[str] = "job-failed"
    title: ClassVar[str] = "The job failed"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnreadableModel(JobFailed):
    """The upload is not a model this service reads."""

    code = "unreadable-model"
    title = "The model cannot be read"


class UnsafeModel(UnreadableModel):
    """The file is a program: loading it would run its code."""

    code = "unsafe-model"
    title = "The model file can run code and is refused"


class MalformedModel(UnreadableModel):
    """The file breaks the rules of its own format."""

    code = "malformed-model"
    title = "The model file is damaged"


class UnsupportedModel(UnreadableModel):
    """The file is sound, but uses something without support."""

    code = "unsupported-model"
    title = "The model uses something that is not supported"


class UnreadableDataset(JobFailed):
    """The upload is not a dataset this service reads."""

    code = "unreadable-dataset"
    title = "The dataset cannot be read"


class UnsafeDataset(UnreadableDataset):
    """The file holds pickled objects, leaves its folder, or swells beyond its limit."""

    code = "unsafe-dataset"
    title = "The dataset file is unsafe and is refused"


class MalformedDataset(UnreadableDataset):
    """The file breaks the rules of its own format."""

    code = "malformed-dataset"
    title = "The dataset file is damaged"


class MismatchedDataset(UnreadableDataset):
    """The dataset does not fit the model, or its labels do not fit its samples."""

    code = "mismatched-dataset"
    title = "The dataset does not fit"


class TargetUnreachable(JobFailed):
    """The budget cannot be met under the rules of the recipe."""

    code = "target-unreachable"
    title = "The target cannot be reached"


class NothingRemoved(JobFailed):
    """The prune left the model as it was."""

    code = "nothing-removed"
    title = "Nothing was removed"


class SelfCheckFailed(JobFailed):
    """The pruned graph does not compute what the masked dense graph computes."""

    code = "self-check-failed"
    title = "The pruned model failed its self-check"


class TrainingDiverged(JobFailed):
    """The loss became NaN or infinite."""

    code = "training-diverged"
    title = "Fine-tuning diverged"


class OutOfMemory(JobFailed):
    """The process of the job reached its memory limit."""

    code = "out-of-memory"
    title = "The job needs more memory than it may use"


class TimeLimit(JobFailed):
    """The process of the job reached its time limit, or made no progress."""

    code = "time-limit"
    title = "The job ran into its time limit"


class ExportMismatch(JobFailed):
    """The exported file does not answer like the model it was made from."""

    code = "export-mismatch"
    title = "The exported model differs from the pruned one"
