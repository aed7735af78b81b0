"""Every error becomes `application/problem+json`, whoever raised it."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.contract.resources import FieldError
from service.errors import (
    MEDIA_TYPE,
    BadRequest,
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotImplementedHere,
    NotReady,
    ProblemError,
    UnsupportedMediaType,
)

__all__ = ["answer_problem", "field_errors", "install_error_handlers"]

log = structlog.get_logger("secateur.http")

_ID_PATTERN = re.compile(r"\^([a-z]{3}_)\[")

_BY_STATUS: dict[int, type[ProblemError]] = {
    400: BadRequest,
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
    422: InvalidRequest,
    501: NotImplementedHere,
}


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(OperationalError, _database)


def answer_problem(request: Request, error: ProblemError) -> Response:
    """The answer to a request that failed."""
    problem = error.problem(
        instance=quote(request.scope["path"]), request_id=getattr(request.state, "request_id", None)
    )
    return JSONResponse(
        problem.model_dump(mode="json") | error.extensions,
        status_code=error.status,
        headers=error.headers | {"Cache-Control": "no-store"},
        media_type=MEDIA_TYPE,
    )


def field_errors(errors: Sequence[Any], body: bool) -> list[FieldError]:
    """Pydantic's errors, with JSON pointers for bodies and bare names for parameters."""
    return [FieldError(pointer=_pointer(error["loc"], body), detail=_detail(error)) for error in errors]


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return answer_problem(request, error)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code, InternalError)
    path = request.scope["path"]
    if kind is MethodNotAllowed:
        allowed = ", ".join(_methods(request))
        detail = f"{path} has no method {request.method}; it has {allowed}."
        return answer_problem(request, MethodNotAllowed(detail, headers={"Allow": allowed}))
    if kind is NotFound:
        return answer_problem(request, NotFound(f"There is no route at {path}; /openapi.json lists them all."))
    return answer_problem(request, kind(error.detail, headers=dict(error.headers or {})))


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = field_errors(error.errors(), body=False)
    if all(e["loc"][0] == "path" for e in error.errors()):
        return answer_problem(request, NotFound(f"Nothing can be at {request.scope['path']}: {errors[0].detail}"))
    named = ", ".join(dict.fromkeys(e.pointer for e in errors))
    return answer_problem(request, InvalidRequest(f"The request is invalid in: {named}.", errors=errors))


async def _database(request: Request, error: Exception) -> Response:
    """The database is away, or its migrations are missing: not the client's fault, and likely to pass."""
    log.error("database failed", path=request.scope["path"], error=str(error))
    detail = "The database does not answer as it should; /readyz says more. Try again."
    return answer_problem(request, NotReady(detail, headers={"Retry-After": "5"}))


def _methods(request: Request) -> list[str]:
    """All methods of a path. Starlette has a route per method, and names only those of the first that it meets."""
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


def _pointer(loc: Sequence[str | int], body: bool) -> str:
    if not body:
        return str(loc[1]) if len(loc) > 1 else str(loc[0])
    return "#" + "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in loc)


def _detail(error: Any) -> str:
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "There is no field of this name."
    if error["type"] == "missing":
        return "This field is required."
    if error["type"] == "string_pattern_mismatch" and (prefix := _ID_PATTERN.search(message)):
        message = f"An id here is {prefix[1]} and 26 letters and digits, as the service gave it"
    given = error.get("input")
    if isinstance(given, str | int | float | bool):
        shown = repr(given)
        return f"{message}; got {shown if len(shown) <= 100 else shown[:97] + '...'}."
    return f"{message}."
