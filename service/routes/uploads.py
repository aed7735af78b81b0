"""What models and datasets have in common: they are uploads."""

import asyncio
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from service.contract.resources import Dataset, DatasetList, Model, ModelList
from service.errors import (
    DatasetNotFound,
    DigestMismatch,
    EmptyUpload,
    InsufficientStorage,
    InvalidHeader,
    MalformedMultipart,
    ModelNotFound,
    ProblemError,
    UnsupportedMediaType,
    UploadInUse,
    UploadTooLarge,
)
from service.routes.responses import Responses, answer, problems
from service.services import Services
from service.store import uploads
from service.store.uploads import Added, Kind
from service.uploads.receive import Received, receive

__all__ = [
    "UPLOAD_BODY",
    "UPLOAD_PROBLEMS",
    "created",
    "delete_upload",
    "list_uploads",
    "show_upload",
    "store_upload",
]


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file, as raw body or as the one part `file` of a multipart body.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "minLength": 1}},
                    "additionalProperties": False,
                }
            },
        },
    }
}

UPLOAD_PROBLEMS = problems(
    InvalidHeader,
    MalformedMultipart,
    UploadTooLarge,
    UnsupportedMediaType,
    EmptyUpload,
    DigestMismatch,
    InsufficientStorage,
)

_NOT_FOUND: dict[Kind, type[ProblemError]] = {"model": ModelNotFound, "dataset": DatasetNotFound}


def created(model: type[Model] | type[Dataset]) -> Responses:
    """Declares the two answers to an upload."""
    location = {"Location": {"description": "Path of the upload.", "schema": {"type": "string"}}}
    return {
        200: {
            "model": model,
            "description": "The same bytes were uploaded before; this is that upload, with the name it has.",
            "headers": location,
        },
        201: {"model": model, "description": "Stored; a worker inspects it now.", "headers": location},
    }


async def store_upload(
    request: Request, services: Services, kind: Kind, name: str | None, repr_digest: str | None
) -> Response:
    """Take in a file: 201 when its bytes are new, 200 when they were known."""
    async with receive(request, services.blobs, services.settings.limits, repr_digest) as received:
        added = await asyncio.to_thread(_add, services, kind, name, received)
    if added.inspect:
        services.ringer.inspection(added.upload.id)
    services.metrics.received(kind, added.upload.size_bytes)
    headers = _headers(added.upload) | {"Location": f"/v1/{kind}s/{added.upload.id}"}
    return answer(added.upload, 201 if added.created else 200, headers)


async def show_upload(services: Services, kind: Kind, upload_id: str) -> Response:
    upload = await services.database.query(uploads.get, kind, upload_id)
    if upload is None:
        raise _missing(kind, upload_id)
    return answer(upload, headers=_headers(upload))


async def list_uploads(services: Services, kind: Kind, after: str | None, limit: int) -> Response:
    data, cursor = await services.database.query(uploads.list_page, kind, after, min(limit, 100))
    page = ModelList if kind == "model" else DatasetList
    return answer(page.model_validate({"data": data, "next_cursor": cursor}))


def delete_upload(services: Services, kind: Kind, upload_id: str) -> Response:
    with services.database.write() as c:
        deleted = uploads.delete(c, kind, upload_id)
        if deleted is None:
            raise _missing(kind, upload_id)
        if deleted.used_by is not None:
            raise UploadInUse(
                f"The {kind} {upload_id} is used by the job {deleted.used_by}, which has not ended; "
                "cancel it, or wait for its end."
            )
        if deleted.orphan is not None:
            services.blobs.remove(deleted.orphan)
    return Response(status_code=204)


def _add(services: Services, kind: Kind, name: str | None, received: Received) -> Added:
    """Bytes and row in one transaction: the lock on the digest keeps a deletion from coming between them."""
    staged = received.staged
    with services.database.write() as c:
        uploads.lock_digest(c, staged.sha256)
        services.blobs.adopt(staged)
        return uploads.add(
            c,
            kind=kind,
            name=name or _printable(received.filename) or staged.sha256[:12],
            sha256=staged.sha256,
            size_bytes=staged.size_bytes,
            max_attempts=services.settings.jobs.max_attempts,
        )


def _printable(filename: str | None) -> str:
    return "".join(character for character in filename or "" if character.isprintable())[:200]


def _headers(upload: Model | Dataset) -> dict[str, str]:
    """No `Repr-Digest`: that would be the digest of this answer, not of the file (RFC 9530, 3); `sha256` is in it."""
    return {"Retry-After": "1"} if upload.status == "inspecting" else {}


def _missing(kind: Kind, upload_id: str) -> ProblemError:
    return _NOT_FOUND[kind](f"There is no {kind} with the id {upload_id}.")
