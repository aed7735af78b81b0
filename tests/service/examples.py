"""Profiles, outcomes and rows that tests of the service start from."""

from dataclasses import dataclass
from hashlib import sha256
from uuid import uuid4

from sqlalchemy import Connection

from service.contract.recipe import Recipe
from service.contract.resources import (
    DatasetProfile,
    Job,
    JobError,
    JobResult,
    LayerInfo,
    ModelProfile,
    Notice,
    Prunable,
    PrunableGroup,
    Reach,
    TensorInfo,
    Verdict,
)
from service.store import jobs, uploads

MODEL_PROFILE = ModelProfile(
    format="pt2",
    inputs=[TensorInfo(name="x", shape=["batch", 3, 8, 8], dtype="float32")],
    outputs=[TensorInfo(name="logits", shape=["batch", 2], dtype="float32")],
    parameters=1000,
    macs=50_000,
    layers=[
        LayerInfo(name="conv", op="convolution", shape=[16, 3, 3, 3], parameters=432, macs=27_648, prunable=16),
        LayerInfo(name="fc", op="linear", shape=[2, 16], parameters=34, macs=32, prunable=0),
    ],
    prunable=Prunable(
        components=16,
        groups=[PrunableGroup(id="g0", layers=["conv"], channels=16)],
        reach=[Reach(keep=1.0, macs=1.0, params=1.0), Reach(keep=0.5, macs=0.5, params=0.5)],
        min_macs=0.1,
        min_params=0.1,
    ),
    blocked=[],
    normalization="batch_norm",
)

DATASET_PROFILE = DatasetProfile.model_validate(
    {
        "format": "npz",
        "arrays": [{"name": "x", "shape": [100, 3, 8, 8], "dtype": "float32"}],
        "samples": 100,
        "labels": "class",
        "classes": 2,
        "class_names": None,
        "label_range": None,
        "splits": {"train": 80, "test": 20},
    }
)

HALF = Recipe.model_validate({"target": {"macs": 0.5}})

ERROR = JobError(type="/v1/problems/training-diverged", code="training-diverged", title="Diverged", detail="NaN")


@dataclass(frozen=True)
class Made:
    """A file of an outcome."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str


RESULT = JobResult(macs=25_000, macs_ratio=0.5, params=500, params_ratio=0.5)


@dataclass(frozen=True)
class Outcome:
    """What a worker hands in."""

    artifacts: list[Made]
    verdict: Verdict = "PASS"
    result: JobResult = RESULT
    recipe: Recipe = HALF
    warnings: tuple[Notice, ...] = ()


def made(name: str, content: bytes, media_type: str = "application/octet-stream") -> Made:
    return Made(name, media_type, len(content), sha256(content).hexdigest())


def add_model(c: Connection, *, ready: bool = True, content: bytes | None = None) -> str:
    """A model without bytes; ready unless said otherwise."""
    return _add(c, "model", MODEL_PROFILE if ready else None, content)


def add_dataset(c: Connection, *, ready: bool = True) -> str:
    return _add(c, "dataset", DATASET_PROFILE if ready else None, None)


def add_job(c: Connection, *, max_attempts: int = 3, model_id: str | None = None) -> Job:
    """A queued job."""
    return jobs.create(
        c, model_id=model_id or add_model(c), dataset_id=None, recipe=HALF, max_attempts=max_attempts, name="example"
    )


def _add(
    c: Connection, kind: uploads.Kind, profile: ModelProfile | DatasetProfile | None, content: bytes | None
) -> str:
    digest = sha256(content if content is not None else uuid4().bytes).hexdigest()
    upload_id = uploads.add(c, kind=kind, name="example", sha256=digest, size_bytes=1, max_attempts=3).upload.id
    if profile is not None:
        claim = uploads.claim_inspection(c, upload_id, "a worker", 30)
        assert claim is not None
        assert uploads.finish_inspection(c, upload_id, claim.attempt, profile)
    return upload_id
