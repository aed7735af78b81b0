"""From a request for a job to a queued one. Everything that can be known without reading the files is checked here."""

import hashlib
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection

from service.contract.plan import plan
from service.contract.resolve import Resolved, Unresolvable, resolve
from service.contract.resources import Dataset, DatasetProfile, Job, JobRequest, Model, ModelProfile, Plan, UploadState
from service.errors import (
    DatasetMismatch,
    DatasetNotReady,
    DatasetRejected,
    IdempotencyKeyReused,
    ModelNotReady,
    ModelRejected,
    ProblemError,
    RecipeInvalid,
    TargetUnreachable,
    UnknownDataset,
    UnknownModel,
)
from service.store import idempotency, jobs, uploads
from service.store.database import Database
from service.store.idempotency import Answer

__all__ = ["Submitted", "plan_job", "submit_job"]

_SCOPE = "POST /v1/jobs"
_RETRY_SECONDS = "2"

_UNKNOWN: dict[str, type[ProblemError]] = {"model": UnknownModel, "dataset": UnknownDataset}
_NOT_READY: dict[str, type[ProblemError]] = {"model": ModelNotReady, "dataset": DatasetNotReady}
_REJECTED: dict[str, type[ProblemError]] = {"model": ModelRejected, "dataset": DatasetRejected}
_UNRESOLVABLE: dict[str, type[ProblemError]] = {
    kind.slug: kind for kind in (RecipeInvalid, DatasetMismatch, TargetUnreachable)
}


@dataclass(frozen=True)
class Submitted:
    """The answer, and whether it was given before."""

    job_id: str | None
    answer: Answer

    @property
    def replayed(self) -> bool:
        return self.job_id is None


def plan_job(database: Database, request: JobRequest) -> Plan:
    """What the job would do. Raises as `submit_job`."""
    with database.read() as c:
        model, dataset = _profiles(c, request)
    resolved = _resolve(request, model, dataset)
    return plan(resolved.recipe, model, dataset, resolved.warnings)


def submit_job(database: Database, request: JobRequest, key: str | None, max_attempts: int) -> Submitted:
    """Store a job with its resolved recipe, and in the same transaction the answer to its idempotency key.

    Raises:
        IdempotencyKeyReused: The key was used for another request.
        UnknownModel, UnknownDataset, ModelNotReady, DatasetNotReady, ModelRejected, DatasetRejected: By what is named.
        RecipeInvalid, DatasetMismatch, TargetUnreachable: By what is asked.
    """
    fingerprint = _fingerprint(request)
    with database.read() as c:
        if known := _known(c, key, fingerprint):
            return known
        model, dataset = _profiles(c, request)
    resolved = _resolve(request, model, dataset)
    with database.write() as c:
        if key is not None:
            idempotency.lock(c, _SCOPE, key)
            if known := _known(c, key, fingerprint):
                return known
        _hold(c, request)
        job = jobs.create(
            c,
            model_id=request.model,
            dataset_id=request.dataset,
            recipe=resolved.recipe,
            max_attempts=max_attempts,
            name=request.name,
            metadata=request.metadata,
            warnings=resolved.warnings,
        )
        answer = _accepted(job, fingerprint)
        if key is not None:
            idempotency.remember(c, _SCOPE, key, answer)
    return Submitted(job.id, answer)


def _accepted(job: Job, fingerprint: str) -> Answer:
    headers = {"Location": f"/v1/jobs/{job.id}", "Retry-After": _RETRY_SECONDS}
    return Answer(fingerprint, 202, headers, job.model_dump_json())


def _known(c: Connection, key: str | None, fingerprint: str) -> Submitted | None:
    answer = idempotency.find(c, _SCOPE, key) if key is not None else None
    if answer is None:
        return None
    if answer.fingerprint != fingerprint:
        raise IdempotencyKeyReused(
            f"The Idempotency-Key {key!r} was used for another job request within the last 24 hours; use a new key."
        )
    return Submitted(None, answer)


def _fingerprint(request: JobRequest) -> str:
    """The same for two requests that mean the same, however they were written."""
    canonical: Any = request.model_dump(mode="json")
    return hashlib.sha256(to_json(_sorted(canonical))).hexdigest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _profiles(c: Connection, request: JobRequest) -> tuple[ModelProfile, DatasetProfile | None]:
    model = uploads.get(c, "model", request.model)
    model_profile = _profile("model", request.model, model)
    assert isinstance(model_profile, ModelProfile)
    if request.dataset is None:
        return model_profile, None
    dataset_profile = _profile("dataset", request.dataset, uploads.get(c, "dataset", request.dataset))
    assert isinstance(dataset_profile, DatasetProfile)
    return model_profile, dataset_profile


def _profile(kind: str, upload_id: str, upload: Model | Dataset | None) -> ModelProfile | DatasetProfile:
    pointer = f"#/{kind}"
    if upload is None:
        raise _UNKNOWN[kind].about(pointer, f"There is no {kind} with the id {upload_id}; upload one to /v1/{kind}s.")
    if upload.status is UploadState.REJECTED:
        reason = upload.error.detail if upload.error else "no reason was recorded"
        raise _REJECTED[kind].about(pointer, f"The {kind} {upload_id} was rejected by its inspection: {reason}")
    if upload.profile is None:
        problem = _NOT_READY[kind].about(
            pointer, f"The {kind} {upload_id} is still being inspected; try again when its status is 'ready'."
        )
        problem.headers = {"Retry-After": _RETRY_SECONDS}
        raise problem
    return upload.profile


def _resolve(request: JobRequest, model: ModelProfile, dataset: DatasetProfile | None) -> Resolved:
    try:
        return resolve(request.recipe, model, dataset)
    except Unresolvable as error:
        raise _UNRESOLVABLE[error.code](str(error), errors=error.errors) from None


def _hold(c: Connection, request: JobRequest) -> None:
    """What was there a moment ago may have been deleted since."""
    if not uploads.hold(c, "model", request.model):
        raise UnknownModel.about("#/model", f"The model {request.model} was deleted.")
    if request.dataset is not None and not uploads.hold(c, "dataset", request.dataset):
        raise UnknownDataset.about("#/dataset", f"The dataset {request.dataset} was deleted.")
