"""Named types of parameters, so that a signature reads like a sentence."""

from typing import Annotated

from fastapi import Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from service.contract.resources import DatasetID, JobID, JobState, ModelID

__all__ = [
    "AfterArtifact",
    "AfterDataset",
    "AfterJob",
    "AfterModel",
    "AfterSeq",
    "ArtifactName",
    "DatasetPath",
    "EventLimit",
    "IdempotencyKey",
    "IfNoneMatch",
    "JobPath",
    "LastEventId",
    "Limit",
    "ModelPath",
    "Prefer",
    "ReprDigest",
    "Slug",
    "StatusFilter",
    "UploadName",
    "ValidateOnly",
    "refuse_unknown_parameters",
]

_AFTER = "`next_cursor` of the page before."

ModelPath = Annotated[ModelID, Path(description="Id of a model.", examples=["mdl_01k9zq4t8w3v6x2y5z7a9bcdef"])]
DatasetPath = Annotated[DatasetID, Path(description="Id of a dataset.", examples=["dts_01k9zq4t8w3v6x2y5z7a9bcdef"])]
JobPath = Annotated[JobID, Path(description="Id of a job.", examples=["job_01k9zq4t8w3v6x2y5z7a9bcdef"])]
ArtifactName = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="Name of a file.", examples=["model.onnx"]),
]
Slug = Annotated[str, Path(pattern="^[a-z][a-z0-9-]{0,63}$", description="The `code` of a problem.")]

AfterModel = Annotated[ModelID | None, Query(description=_AFTER)]
AfterDataset = Annotated[DatasetID | None, Query(description=_AFTER)]
AfterJob = Annotated[JobID | None, Query(description=_AFTER)]
AfterArtifact = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description=_AFTER)]
AfterSeq = Annotated[int, Query(ge=0, le=2**31 - 1, description="Only events with a `seq` above this.")]
Limit = Annotated[int, Query(ge=1, description="Length of the page; more than 100 is taken as 100.")]
EventLimit = Annotated[int, Query(ge=1, description="Length of the page; more than 1000 is taken as 1000.")]
StatusFilter = Annotated[JobState | None, Query(description="Only jobs in this state.")]
ValidateOnly = Annotated[bool, Query(description="Check everything and answer with the plan; store nothing.")]
UploadName = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="A name for people. Default: the file name of a multipart body, else the start of the digest.",
    ),
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same key with the same body gives the first answer again, for 24 hours.",
    ),
]
Prefer = Annotated[
    str | None, Header(description="`wait=N` holds the answer for up to N seconds, until the job is done.")
]
IfNoneMatch = Annotated[str | None, Header(description="An `ETag` that is known already; answered with 304.")]
ReprDigest = Annotated[
    str | None, Header(description="`sha-256=:<base64>:` of the file; verified before anything is stored.")
]
LastEventId = Annotated[
    str | None, Header(description="Sent by an event source that reconnects: the last `id` it saw.")
]


async def refuse_unknown_parameters(request: Request) -> None:
    """A typo in `validate_only` must not start a job."""
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {field.alias for field in route.dependant.query_params}
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        named = ", ".join(sorted(known)) or "none"
        raise RequestValidationError(
            [
                {"type": "unknown_parameter", "loc": ("query", name), "msg": f"unknown parameter; known are: {named}"}
                for name in unknown
            ]
        )
