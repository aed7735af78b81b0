"""Sending files: conditional, in part, and in pieces large enough to be cheap."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from service.conditional import digest_header, etag_matches
from service.errors import RangeNotSatisfiable
from service.store.jobs import StoredArtifact

__all__ = ["artifact_response"]

# Starlette's 64 KiB cost six times the CPU per byte.
_PIECE = 1024 * 1024
_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{1,19})?|-(\d{1,19}))")


def artifact_response(request: Request, artifact: StoredArtifact, path: Path, if_none_match: str | None) -> Response:
    """The answer to GET or HEAD of an artifact; with `If-None-Match`, `Range` and `If-Range`.

    Artifacts never change, so caches may keep them. A list of several ranges is answered with the whole file, as
    RFC 9110 allows.

    Raises:
        RangeNotSatisfiable: The range begins behind the end.
    """
    etag = f'"sha256-{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, immutable, max-age=31536000",
        "Repr-Digest": digest_header(artifact.sha256),
        "Content-Disposition": f'attachment; filename="{artifact.name}"',
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    if artifact.media_type.startswith("text/html"):
        # A page made from what clients uploaded: shown, but without scripts, forms or an origin.
        headers["Content-Security-Policy"] = (
            "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"
        )
        headers["Content-Disposition"] = f'inline; filename="{artifact.name}"'
    if etag_matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)

    start, end = _asked(request, artifact.size_bytes, etag)
    if (start, end) != (0, artifact.size_bytes):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size_bytes}"
    status = 206 if "Content-Range" in headers else 200
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=artifact.media_type)
    return StreamingResponse(
        _pieces(path, start, end), status_code=status, headers=headers, media_type=artifact.media_type
    )


def _asked(request: Request, size: int, etag: str) -> tuple[int, int]:
    """First byte, and the one after the last. A range that is malformed or no longer holds means the whole file."""
    if request.method != "GET":
        return 0, size
    condition = request.headers.get("if-range")
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", "").lower())
    if match is None or (condition is not None and condition != etag):
        return 0, size
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return 0, size
    if start >= size or start >= end:
        raise RangeNotSatisfiable(
            f"The file has {size} bytes; the range {request.headers['range'][:100]} has none of them.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


async def _pieces(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    handle = await loop.run_in_executor(None, os.open, path, os.O_RDONLY)
    try:
        while start < end:
            piece = await loop.run_in_executor(None, os.pread, handle, min(_PIECE, end - start), start)
            if not piece:
                raise OSError(f"{path} is shorter than its row says")
            yield piece
            start += len(piece)
    finally:
        os.close(handle)
