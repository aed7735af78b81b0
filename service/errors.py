"""Everything a request can be refused for. Each leaf is one problem type (RFC 9457) with a stable slug.

ProblemError
├── BadRequest 400
│   ├── MalformedJson
│   ├── MalformedMultipart
│   ├── InvalidHeader
│   └── UploadInterrupted
├── NotFound 404
│   ├── ModelNotFound
│   ├── DatasetNotFound
│   ├── JobNotFound
│   ├── ArtifactNotFound
│   ├── ReportNotFound
│   └── ProblemTypeNotFound
├── MethodNotAllowed 405
├── Conflict 409
│   ├── ModelNotReady
│   ├── DatasetNotReady
│   ├── UploadInUse
│   └── ReportNotReady
├── TooLarge 413
│   ├── UploadTooLarge
│   └── BodyTooLarge
├── UnsupportedMediaType 415
├── RangeNotSatisfiable 416
├── Unprocessable 422
│   ├── InvalidRequest
│   ├── EmptyUpload
│   ├── DigestMismatch
│   ├── UnknownModel
│   ├── UnknownDataset
│   ├── ModelRejected
│   ├── DatasetRejected
│   ├── RecipeInvalid
│   ├── DatasetMismatch
│   ├── TargetUnreachable
│   └── IdempotencyKeyReused
├── InternalError 500
├── NotImplementedHere 501
├── NotReady 503
└── InsufficientStorage 507

What a *job* can fail for is not here but in `service.failures`: the request that asks for a failed job succeeds.
This module knows no web framework.
"""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from service.contract.resources import FieldError, Problem

__all__ = [
    "ArtifactNotFound",
    "BadRequest",
    "BodyTooLarge",
    "Conflict",
    "DatasetMismatch",
    "DatasetNotFound",
    "DatasetNotReady",
    "DatasetRejected",
    "DigestMismatch",
    "EmptyUpload",
    "IdempotencyKeyReused",
    "InsufficientStorage",
    "InternalError",
    "InvalidHeader",
    "InvalidRequest",
    "JobNotFound",
    "MalformedJson",
    "MalformedMultipart",
    "MethodNotAllowed",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRejected",
    "NotFound",
    "NotImplementedHere",
    "NotReady",
    "ProblemError",
    "ProblemTypeNotFound",
    "RangeNotSatisfiable",
    "RecipeInvalid",
    "ReportNotFound",
    "ReportNotReady",
    "TargetUnreachable",
    "TooLarge",
    "UnknownDataset",
    "UnknownModel",
    "Unprocessable",
    "UnsupportedMediaType",
    "UploadInUse",
    "UploadInterrupted",
    "UploadTooLarge",
    "problem_type",
    "problem_types",
]

MEDIA_TYPE = "application/problem+json"


def problem_type(slug: str) -> str:
    """The URI reference that names a kind of problem; it can be opened for an explanation."""
    return f"/v1/problems/{slug}"


class ProblemError(Exception):
    """Base: `detail` names the thing, the value and the way out. Leaves have a docstring, which explains the type."""

    status: ClassVar[int] = 500
    slug: ClassVar[str]
    title: ClassVar[str]

    def __init_subclass__(cls, *, slug: str, title: str, status: int | None = None) -> None:
        cls.slug, cls.title = slug, title
        if status is not None:
            cls.status = status

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}
        self.extensions = extensions or {}

    @classmethod
    def about(cls, pointer: str, detail: str) -> "ProblemError":
        """A problem with one field of the request."""
        return cls(detail, errors=[FieldError(pointer=pointer, detail=detail)])

    def problem(self, *, instance: str | None, request_id: str | None) -> Problem:
        """The body of the answer, without the extensions."""
        return Problem(
            type=problem_type(self.slug),
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.slug,
            instance=instance,
            request_id=request_id,
            errors=self.errors,
        )


class BadRequest(ProblemError, status=400, slug="bad-request", title="The request is malformed"):
    """The request is not well-formed HTTP for this route."""


class MalformedJson(BadRequest, slug="malformed-json", title="The body is not JSON"):
    """The body is not JSON as RFC 8259 defines it: NaN and Infinity are no numbers there, and nesting is bounded."""


class MalformedMultipart(BadRequest, slug="malformed-multipart", title="The multipart body is malformed"):
    """The multipart body breaks its format, or is not made of one part called `file`."""


class InvalidHeader(BadRequest, slug="invalid-header", title="A header is malformed"):
    """A header that this route understands has a value that it does not."""


class UploadInterrupted(BadRequest, slug="upload-interrupted", title="The upload was interrupted"):
    """The connection ended before the whole body had arrived. Nothing was stored; send the file again."""


class NotFound(ProblemError, status=404, slug="not-found", title="There is nothing here"):
    """There is no route at this path. The routes are listed in `/openapi.json`."""


class ModelNotFound(NotFound, slug="model-not-found", title="There is no such model"):
    """No model has this id, or it was deleted."""


class DatasetNotFound(NotFound, slug="dataset-not-found", title="There is no such dataset"):
    """No dataset has this id, or it was deleted."""


class JobNotFound(NotFound, slug="job-not-found", title="There is no such job"):
    """No job has this id."""


class ArtifactNotFound(NotFound, slug="artifact-not-found", title="There is no such artifact"):
    """The job has published no file of this name. Files appear together, when the job succeeds."""


class ReportNotFound(NotFound, slug="report-not-found", title="This job has no report"):
    """The job failed or was cancelled, so it has no report. Its `error` says why."""


class ProblemTypeNotFound(NotFound, slug="problem-type-not-found", title="There is no such problem type"):
    """No kind of problem has this slug."""


class MethodNotAllowed(ProblemError, status=405, slug="method-not-allowed", title="The method is not allowed here"):
    """The path exists, but not for this method. The `Allow` header names the methods it has."""


class Conflict(ProblemError, status=409, slug="conflict", title="The resource is in another state"):
    """The state of a resource forbids the request now; later it may pass."""


class ModelNotReady(Conflict, slug="model-not-ready", title="The model is not ready"):
    """The model is still being inspected. Wait until its `status` is `ready`, then submit the job again."""


class DatasetNotReady(Conflict, slug="dataset-not-ready", title="The dataset is not ready"):
    """The dataset is still being inspected. Wait until its `status` is `ready`, then submit the job again."""


class UploadInUse(Conflict, slug="upload-in-use", title="The upload is in use"):
    """An unfinished job uses the upload. Cancel the job, or wait for its end."""


class ReportNotReady(Conflict, slug="report-not-ready", title="The report is not ready"):
    """The job has not ended yet; its report is published with its other artifacts."""


class TooLarge(ProblemError, status=413, slug="too-large", title="The body is too large"):
    """The body is larger than this route accepts."""


class UploadTooLarge(TooLarge, slug="upload-too-large", title="The upload is too large"):
    """The file is larger than `SECATEUR_LIMITS__UPLOAD_BYTES`. A known length is refused before any byte is read."""


class BodyTooLarge(TooLarge, slug="body-too-large", title="The body is too large"):
    """The JSON body is larger than `SECATEUR_LIMITS__REQUEST_BYTES`."""


class UnsupportedMediaType(ProblemError, status=415, slug="unsupported-media-type", title="Unsupported media type"):
    """The route does not read this `Content-Type` or `Content-Encoding`; `detail` names those it reads."""


class RangeNotSatisfiable(ProblemError, status=416, slug="range-not-satisfiable", title="Range outside the file"):
    """The requested range begins behind the end of the file. `Content-Range` says how long the file is."""


class Unprocessable(ProblemError, status=422, slug="unprocessable", title="The request cannot be carried out"):
    """The request is well-formed, but cannot be carried out as it stands."""


class InvalidRequest(Unprocessable, slug="invalid-request", title="The request is invalid"):
    """Fields or parameters are missing, unknown, or out of range. `errors` lists all of them with pointers."""


class EmptyUpload(Unprocessable, slug="empty-upload", title="The upload is empty"):
    """The body holds no bytes. With curl, use `--data-binary @file`, and check that the file exists."""


class DigestMismatch(Unprocessable, slug="digest-mismatch", title="The digest does not match"):
    """The bytes that arrived are not those that `Repr-Digest` promised. Nothing was stored; send them again."""


class UnknownModel(Unprocessable, slug="unknown-model", title="The job names an unknown model"):
    """The job names a model that does not exist."""


class UnknownDataset(Unprocessable, slug="unknown-dataset", title="The job names an unknown dataset"):
    """The job names a dataset that does not exist."""


class ModelRejected(Unprocessable, slug="model-rejected", title="The model was rejected"):
    """The job names a model that was rejected by its inspection. The model's `error` says why."""


class DatasetRejected(Unprocessable, slug="dataset-rejected", title="The dataset was rejected"):
    """The job names a dataset that was rejected by its inspection. The dataset's `error` says why."""


class RecipeInvalid(Unprocessable, slug="recipe-invalid", title="The recipe does not fit"):
    """The recipe is well-formed, but asks for what this model or dataset cannot give."""


class DatasetMismatch(Unprocessable, slug="dataset-mismatch", title="The dataset does not fit the model"):
    """Samples or labels of the dataset do not fit the model's inputs or outputs."""


class TargetUnreachable(Unprocessable, slug="target-unreachable", title="The target cannot be reached"):
    """The target is smaller than anything this model can be pruned to under the rules of the recipe."""


class IdempotencyKeyReused(Unprocessable, slug="idempotency-key-reused", title="The idempotency key was used before"):
    """The `Idempotency-Key` was used for another request within the last 24 hours. Use a new key per request."""


class InternalError(ProblemError, status=500, slug="internal-error", title="Internal error"):
    """Something went wrong that is not the client's fault. The request id finds it in the logs."""


class NotImplementedHere(ProblemError, status=501, slug="not-implemented", title="Not implemented"):
    """The request uses a part of HTTP that this service does not implement."""


class NotReady(ProblemError, status=503, slug="not-ready", title="The service is not ready"):
    """A part that the service depends on does not answer. `checks` names it."""


class InsufficientStorage(ProblemError, status=507, slug="insufficient-storage", title="The disk is full"):
    """The disk has no space for the upload beyond its reserve (`SECATEUR_LIMITS__FREE_DISK_BYTES`)."""


def problem_types(root: type[ProblemError] = ProblemError) -> Iterator[type[ProblemError]]:
    """Every problem type, parents before their children."""
    for child in root.__subclasses__():
        yield child
        yield from problem_types(child)
