"""What surrounds every request: its id, its log line, its count, and the answer when all else fails."""

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_handlers import answer_problem
from service.errors import InternalError
from service.ids import new_id

__all__ = ["RequestContext"]

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UNROUTED = "(none)"

log = structlog.get_logger("secateur.http")


class RequestContext:
    """Outermost of our middleware; plain ASGI, so that streams pass through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        began = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed", method=scope["method"], path=scope["path"])
            if status:  # the answer has begun: all that can be done is to break it off
                raise
            detail = f"Something went wrong here. Request id {request_id} finds it in the logs."
            response = answer_problem(Request(scope), InternalError(detail))
            await response(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", _UNROUTED)
            scope["app"].state.services.metrics.request(scope["method"], route, status, seconds)
            ordinary = status < 400 and scope["method"] in ("GET", "HEAD")
            write = log.debug if ordinary else log.info
            write("request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 4))
