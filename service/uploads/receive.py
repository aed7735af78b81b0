"""From the body of a request to staged, counted and verified bytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.requests import ClientDisconnect

from service.conditional import expected_sha256
from service.errors import (
    DigestMismatch,
    EmptyUpload,
    InsufficientStorage,
    UnsupportedMediaType,
    UploadInterrupted,
    UploadTooLarge,
)
from service.settings import LimitSettings
from service.store.blobs import Blobs, DiskFull, Staged, TooManyBytes
from service.uploads.multipart import FilePart

__all__ = ["Received", "receive"]

_RAW = "application/octet-stream"
_MULTIPART = "multipart/form-data"
_MULTIPART_SLACK = 64 * 1024  # boundaries and headers around the file


@dataclass(frozen=True)
class Received:
    """A whole body. `filename` is what a multipart client called it."""

    staged: Staged
    filename: str | None


@asynccontextmanager
async def receive(
    request: Request, blobs: Blobs, limits: LimitSettings, repr_digest: str | None
) -> AsyncIterator[Received]:
    """Take in the body. What was not adopted by the end of the block is forgotten.

    A body whose length says that it cannot be stored is refused before a byte of it is read; curl, which asks with
    `Expect: 100-continue`, then sends none.

    Raises:
        UnsupportedMediaType, InvalidHeader, UploadTooLarge, InsufficientStorage: Before or while reading.
        MalformedMultipart, UploadInterrupted: While reading.
        EmptyUpload, DigestMismatch: After reading.
    """
    media_type = _media_type(request)
    promised = expected_sha256(repr_digest)
    _refuse_by_length(request, media_type, blobs, limits)

    part = FilePart(request.headers["content-type"]) if media_type == _MULTIPART else None
    chunks = part.chunks(request.stream()) if part else request.stream()
    async with blobs.stage(limit=limits.upload_bytes, keep_free=limits.free_disk_bytes) as staged:
        try:
            async for chunk in chunks:
                await staged.write(chunk)
            await staged.close()
        except TooManyBytes:
            raise _too_large(limits) from None
        except DiskFull:
            raise _disk_full(limits) from None
        except ClientDisconnect:
            raise UploadInterrupted("The connection ended before the whole body had arrived.") from None
        if staged.size_bytes == 0:
            raise EmptyUpload("The upload has no bytes; with curl, use --data-binary @FILE.")
        if promised is not None and promised != staged.sha256:
            raise DigestMismatch(
                f"The {staged.size_bytes} bytes that arrived have the SHA-256 {staged.sha256}; "
                f"Repr-Digest promised {promised}."
            )
        yield Received(staged, part.filename if part else None)


def _media_type(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:100]!r} is not read; send the bytes as they are.")
    content_type = request.headers.get("content-type", _RAW)
    media_type = content_type.split(";")[0].strip().lower()
    if media_type not in (_RAW, _MULTIPART):
        raise UnsupportedMediaType(
            f"This route reads {_RAW} and {_MULTIPART}, not {content_type[:100]!r}; "
            f"with curl, add -H 'content-type: {_RAW}'.",
            headers={"Accept": f"{_RAW}, {_MULTIPART}"},
        )
    return media_type


def _refuse_by_length(request: Request, media_type: str, blobs: Blobs, limits: LimitSettings) -> None:
    length = request.headers.get("content-length", "0")
    size = int(length) if length.isdigit() else 0
    slack = _MULTIPART_SLACK if media_type == _MULTIPART else 0
    if size > limits.upload_bytes + slack:
        raise _too_large(limits, size)
    if blobs.free_bytes() - size < limits.free_disk_bytes:
        raise _disk_full(limits)


def _too_large(limits: LimitSettings, size: int | None = None) -> UploadTooLarge:
    given = f"The upload has {size} bytes" if size else "The upload is longer than allowed"
    # What follows on this connection is the rest of the body, not the next request.
    return UploadTooLarge(
        f"{given}; at most {limits.upload_bytes} are accepted. Send fewer samples or a smaller model, or let the "
        "operator raise SECATEUR_LIMITS__UPLOAD_BYTES.",
        headers={"Connection": "close"},
    )


def _disk_full(limits: LimitSettings) -> InsufficientStorage:
    return InsufficientStorage(
        f"The disk has no room for this upload beyond the {limits.free_disk_bytes} bytes that are kept free; "
        "delete models, datasets or jobs, or enlarge the disk.",
        headers={"Connection": "close"},
    )
