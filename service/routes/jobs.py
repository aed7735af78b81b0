"""`/v1/jobs`"""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.conditional import etag_matches, preferred_wait
from service.contract.resources import Job, JobList, JobRequest, Plan
from service.errors import (
    BodyTooLarge,
    DatasetMismatch,
    DatasetNotReady,
    DatasetRejected,
    IdempotencyKeyReused,
    JobNotFound,
    MalformedJson,
    ModelNotReady,
    ModelRejected,
    RecipeInvalid,
    TargetUnreachable,
    UnknownDataset,
    UnknownModel,
    UnsupportedMediaType,
)
from service.json_body import read_json
from service.routes.parameters import (
    AfterJob,
    IdempotencyKey,
    IfNoneMatch,
    JobPath,
    Limit,
    Prefer,
    StatusFilter,
    ValidateOnly,
)
from service.routes.responses import Responses, answer, etag_header, problems
from service.services import Services, UseServices
from service.store import jobs
from service.submission import plan_job, submit_job

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_RETRY_SECONDS = "2"
# How often a waiting request looks at its row: soon at first, for short jobs, then at leisure.
_LOOK_SECONDS = (0.05, 1.0)

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/JobRequest"},
                "examples": {
                    "half": {
                        "summary": "Half the multiply-accumulates, everything else by default",
                        "value": {
                            "model": "mdl_01k9zq4t8w3v6x2y5z7a9bcdef",
                            "dataset": "dts_01k9zq4t8w3v6x2y5z7a9bcdef",
                            "recipe": {"target": {"macs": 0.5}},
                        },
                    }
                },
            }
        },
    }
}

_ACCEPTED: dict[str, Any] = {
    "model": Job,
    "description": "Queued.",
    "headers": {
        "Location": {"description": "Path of the job.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until a look is worth it.", "schema": {"type": "integer"}},
        "Idempotency-Replayed": {
            "description": "`true` when this answer was given before to the same key.",
            "schema": {"type": "string", "enum": ["true"]},
        },
    },
}

_SHOWN: Responses = {
    200: {
        "headers": etag_header("Changes whenever the job does.")
        | {
            "Retry-After": {"description": "While the job is not done.", "schema": {"type": "integer"}},
            "Preference-Applied": {"description": "`wait=N`", "schema": {"type": "string"}},
        }
    },
    304: {"description": "Unchanged since the `ETag` of `If-None-Match`."},
}


@router.post(
    "",
    operation_id="create_job",
    summary="Submit a job",
    status_code=202,
    responses=problems(
        MalformedJson,
        BodyTooLarge,
        UnsupportedMediaType,
        ModelNotReady,
        DatasetNotReady,
        UnknownModel,
        UnknownDataset,
        ModelRejected,
        DatasetRejected,
        RecipeInvalid,
        DatasetMismatch,
        TargetUnreachable,
        IdempotencyKeyReused,
        also={
            202: _ACCEPTED,
            200: {"model": Plan, "description": "With `validate_only`: what the job would do. Nothing was stored."},
        },
    ),
    openapi_extra=_BODY,
)
async def create(
    request: Request,
    services: UseServices,
    validate_only: ValidateOnly = False,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Prune a model. Only `model` and `recipe.target` are required; the answer shows every default filled in.

    With an `Idempotency-Key` a request can be repeated without making a second job.
    """
    body = await read_json(request, JobRequest, services.settings.limits.request_bytes)
    if validate_only:
        return answer(await asyncio.to_thread(plan_job, services.database, body))
    submitted = await asyncio.to_thread(
        submit_job, services.database, body, idempotency_key, services.settings.jobs.max_attempts
    )
    headers = dict(submitted.answer.headers)
    if submitted.job_id is None:
        headers["Idempotency-Replayed"] = "true"
    else:
        services.ringer.job(submitted.job_id)
    return Response(submitted.answer.body, submitted.answer.status, headers, media_type="application/json")


@router.get("", operation_id="list_jobs", summary="List jobs", response_model=JobList, responses=problems())
async def index(
    services: UseServices, after: AfterJob = None, limit: Limit = 20, status: StatusFilter = None
) -> Response:
    """Newest first."""
    data, cursor = await services.database.query(jobs.list_page, after, min(limit, 100), status)
    return answer(JobList(data=data, next_cursor=cursor))


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Show a job",
    response_model=Job,
    responses=problems(JobNotFound, also=_SHOWN),
)
async def show(
    job_id: JobPath, services: UseServices, prefer: Prefer = None, if_none_match: IfNoneMatch = None
) -> Response:
    """A failed job is a 200 too: `error` says why it failed.

    `Prefer: wait=N` holds the answer for up to N seconds until the job is done, or, together with `If-None-Match`,
    until anything about it has changed.
    """
    wait = min(preferred_wait(prefer) or 0, services.settings.api.max_wait_seconds)
    job, version = await _look(services, job_id, wait, if_none_match)
    headers = {"ETag": _etag(version), "Cache-Control": "private, no-cache"}
    if not job.done:
        headers["Retry-After"] = _RETRY_SECONDS
    if wait:
        headers["Preference-Applied"] = f"wait={wait}"
    if etag_matches(if_none_match, _etag(version)):
        return Response(status_code=304, headers=headers)
    return answer(job, headers=headers)


@router.post(
    "/{job_id}/cancel",
    operation_id="cancel_job",
    summary="Cancel a job",
    response_model=Job,
    responses=problems(JobNotFound),
)
def cancel(job_id: JobPath, services: UseServices) -> Response:
    """A queued job is cancelled at once, a running one within seconds. Repeating it, or asking it of a job that has
    ended, changes nothing.
    """
    with services.database.write() as c:
        job = jobs.request_cancel(c, job_id)
    if job is None:
        raise _missing(job_id)
    return answer(job)


async def _look(services: Services, job_id: str, wait: int, if_none_match: str | None) -> tuple[Job, int]:
    """The job and its version; after a wait, if one was asked for and there is something to wait for."""
    deadline = time.monotonic() + wait
    pause, longest = _LOOK_SECONDS
    while True:
        found = await services.database.query(jobs.get_versioned, job_id)
        if found is None:
            raise _missing(job_id)
        job, version = found
        news = if_none_match is not None and not etag_matches(if_none_match, _etag(version))
        left = deadline - time.monotonic()
        if job.done or news or left <= 0:
            return found
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, longest)


def _etag(version: int) -> str:
    return f'"v{version}"'


def _missing(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job with the id {job_id}.")
