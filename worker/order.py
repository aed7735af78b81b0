"""What a child process is asked to do, and what it answers. Plain data: it crosses a process border as JSON."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.contract.recipe import Recipe
from service.contract.resources import DatasetProfile, JobResult, ModelProfile, Notice, Verdict

__all__ = ["ChildLimits", "InspectOrder", "JobOrder", "JobOutcome", "MadeFile", "UploadFile"]


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UploadFile(Plain):
    """An upload on disk."""

    id: str
    name: str
    sha256: str
    path: Path


class ChildLimits(Plain):
    """Resource limits of the child; see `service.settings.LimitSettings`."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int
    dataset_bytes: int
    model_nodes: int
    threads: int
    device: Literal["cpu", "cuda", "auto"]


class InspectOrder(Plain):
    """Read an upload and describe it. Answered by a ModelProfile or a DatasetProfile."""

    kind: Literal["model", "dataset"]
    upload: UploadFile
    limits: ChildLimits


class JobOrder(Plain):
    """Run a job. `work_dir` outlives the attempt and holds its checkpoints; `output_dir` is this attempt's own."""

    job_id: str
    attempt: int
    model: UploadFile
    dataset: UploadFile | None
    recipe: Recipe
    work_dir: Path
    output_dir: Path
    limits: ChildLimits


class MadeFile(Plain):
    """A file in `output_dir` that becomes an artifact if the attempt wins."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str


class JobOutcome(Plain):
    """What a job made."""

    verdict: Verdict
    result: JobResult
    recipe: Recipe
    warnings: list[Notice]
    artifacts: list[MadeFile]


InspectOutcome = ModelProfile | DatasetProfile
