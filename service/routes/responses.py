"""Answers, and how they are declared in OpenAPI."""

from collections import defaultdict
from typing import Any, TypeAlias

from fastapi.responses import Response
from pydantic import BaseModel

from service.errors import (
    MEDIA_TYPE,
    InternalError,
    InvalidRequest,
    NotReady,
    ProblemError,
    problem_type,
)

__all__ = ["Responses", "answer", "bodyless", "etag_header", "problems"]

Responses: TypeAlias = dict[int | str, dict[str, Any]]


def answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A model as JSON. FastAPI's way validates and copies it once more, which costs more than all the rest."""
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


def problems(*kinds: type[ProblemError], also: Responses | None = None) -> Responses:
    """Declares problems next to other answers; every route may also refuse a parameter, fail, or find no database."""
    by_status: dict[int, list[type[ProblemError]]] = defaultdict(list)
    every: tuple[type[ProblemError], ...] = (*dict.fromkeys((*kinds, InvalidRequest, InternalError, NotReady)),)
    for kind in every:
        by_status[kind.status].append(kind)
    return (also or {}) | {
        status: {
            "description": "; ".join(f"`{kind.slug}`: {kind.title}" for kind in found) + ".",
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.slug: {"value": _example(kind)} for kind in found},
                }
            },
        }
        for status, found in sorted(by_status.items())
    }


def bodyless(responses: Responses) -> Responses:
    """Declares the same for HEAD, whose answers have no body."""
    return {
        status: {key: value for key, value in response.items() if key not in ("content", "model")}
        for status, response in responses.items()
    }


def etag_header(description: str) -> dict[str, Any]:
    """Declares an `ETag`."""
    return {"ETag": {"description": description, "schema": {"type": "string"}}}


def _example(kind: type[ProblemError]) -> dict[str, Any]:
    return {
        "type": problem_type(kind.slug),
        "title": kind.title,
        "status": kind.status,
        "detail": (kind.__doc__ or kind.title).strip(),
        "code": kind.slug,
        "instance": "/v1/jobs",
        "request_id": "req_01k9zq4t8w3v6x2y5z7a9bcdef",
        "errors": [],
    }
