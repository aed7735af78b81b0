"""What a job made: its report and its files."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.contract.report import Report
from service.contract.resources import Artifact, ArtifactList
from service.errors import ArtifactNotFound, JobNotFound, RangeNotSatisfiable, ReportNotFound, ReportNotReady
from service.files import artifact_response
from service.routes.parameters import AfterArtifact, ArtifactName, IfNoneMatch, JobPath, Limit
from service.routes.responses import Responses, answer, bodyless, etag_header, problems
from service.services import Services, UseServices
from service.store import jobs

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["artifacts"])

_HEADERS = etag_header("`sha256-` and the digest in hex.") | {
    "Repr-Digest": {"description": "SHA-256 of the whole file (RFC 9530).", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "The file's name.", "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "`bytes`", "schema": {"type": "string"}},
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_UNCHANGED: Responses = {304: {"description": "The file with the `ETag` of `If-None-Match` is still the one."}}
_FILE: Responses = {
    200: {"description": "The file.", "headers": _HEADERS, "content": _BINARY | {"*/*": {}}},
    206: {"description": "The bytes of `Range`.", "headers": _HEADERS, "content": _BINARY | {"*/*": {}}},
    **_UNCHANGED,
}


@router.get(
    "/{job_id}/report",
    operation_id="get_report",
    summary="Report of a job",
    response_model=Report,
    responses=problems(
        JobNotFound,
        ReportNotFound,
        ReportNotReady,
        RangeNotSatisfiable,
        also={200: {"headers": _HEADERS}, **_UNCHANGED},
    ),
)
async def report(
    request: Request, job_id: JobPath, services: UseServices, if_none_match: IfNoneMatch = None
) -> Response:
    """What pruning gained, what it cost, and how sure that is: the artifact `report.json`."""
    found = await services.database.query(jobs.artifact, job_id, "report.json")
    if found is None:
        job = await services.database.query(jobs.get, job_id)
        if job is None:
            raise _no_job(job_id)
        if not job.done:
            raise ReportNotReady(
                f"The job {job_id} is {job.status}; its report comes with its end.", headers={"Retry-After": "5"}
            )
        raise ReportNotFound(f"The job {job_id} is {job.status} and has no report; its `error` says why.")
    return artifact_response(request, found, services.blobs.artifact(found.path), if_none_match)


@router.get(
    "/{job_id}/artifacts",
    operation_id="list_artifacts",
    summary="Files of a job",
    response_model=ArtifactList,
    responses=problems(JobNotFound),
)
async def index(job_id: JobPath, services: UseServices, after: AfterArtifact = None, limit: Limit = 100) -> Response:
    """By name. Empty until the job has succeeded: its files appear together."""
    found, cursor = await services.database.query(jobs.artifact_page, job_id, after, min(limit, 100))
    if not found and await services.database.query(jobs.get, job_id) is None:
        raise _no_job(job_id)
    data = [
        Artifact(
            name=artifact.name,
            media_type=artifact.media_type,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            url=f"/v1/jobs/{job_id}/artifacts/{artifact.name}",
            created_at=artifact.created_at,
        )
        for artifact in found
    ]
    return answer(ArtifactList(data=data, next_cursor=cursor))


@router.get(
    "/{job_id}/artifacts/{name}",
    operation_id="get_artifact",
    summary="Download a file of a job",
    response_class=Response,
    responses=problems(JobNotFound, ArtifactNotFound, RangeNotSatisfiable, also=_FILE),
)
async def show(
    request: Request,
    job_id: JobPath,
    name: ArtifactName,
    services: UseServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Downloads can be resumed with `Range`; files never change."""
    return await _file(request, services, job_id, name, if_none_match)


@router.head(
    "/{job_id}/artifacts/{name}",
    operation_id="head_artifact",
    summary="Headers of a file of a job",
    response_class=Response,
    responses=bodyless(problems(JobNotFound, ArtifactNotFound, also={200: _FILE[200], **_UNCHANGED})),
)
async def head(
    request: Request,
    job_id: JobPath,
    name: ArtifactName,
    services: UseServices,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Length and digests, without the file."""
    return await _file(request, services, job_id, name, if_none_match)


async def _file(request: Request, services: Services, job_id: str, name: str, if_none_match: str | None) -> Response:
    found = await services.database.query(jobs.artifact, job_id, name)
    if found is None:
        if await services.database.query(jobs.get, job_id) is None:
            raise _no_job(job_id)
        raise ArtifactNotFound(f"The job {job_id} has no file called {name}; /v1/jobs/{job_id}/artifacts lists them.")
    return artifact_response(request, found, services.blobs.artifact(found.path), if_none_match)


def _no_job(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job with the id {job_id}.")
