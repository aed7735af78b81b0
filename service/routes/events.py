"""`/v1/jobs/{job_id}/events`, as pages of JSON or as a stream."""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from service.contract.resources import Event, EventList
from service.errors import InvalidHeader, JobNotFound
from service.routes.parameters import AfterSeq, EventLimit, JobPath, LastEventId
from service.routes.responses import answer, problems
from service.services import Services, UseServices
from service.store import jobs

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_STREAM = "text/event-stream"
_LOOK_SECONDS = 0.25
_PING_SECONDS = 15.0
_RETRY_MILLISECONDS = 3000
_BATCH = 500


@router.get(
    "/{job_id}/events",
    operation_id="list_events",
    summary="Events of a job",
    response_model=EventList,
    responses=problems(
        JobNotFound,
        InvalidHeader,
        also={
            200: {
                "description": "A page, or with `Accept: text/event-stream` a stream with `seq` as ids.",
                "content": {_STREAM: {"schema": {"type": "string"}}},
            },
            204: {"description": "To a stream that reconnects after the last event: nothing more will come."},
        },
    ),
)
async def index(
    request: Request,
    job_id: JobPath,
    services: UseServices,
    after: AfterSeq = 0,
    limit: EventLimit = 100,
    last_event_id: LastEventId = None,
) -> Response:
    """Oldest first. A page that ends the list so far has `next_cursor: null`; ask again with `after` set to the last
    `seq` for what came since. A stream goes on from `Last-Event-ID`, ends with the event `done`, and is closed after
    some minutes, upon which event sources reconnect by themselves.
    """
    job = await services.database.query(jobs.get, job_id)
    if job is None:
        raise JobNotFound(f"There is no job with the id {job_id}.")
    if _STREAM not in request.headers.get("accept", ""):
        data, following = await services.database.query(jobs.event_page, job_id, after, min(limit, 1000))
        cursor = None if following is None else str(following)
        return answer(EventList(data=data, next_cursor=cursor), headers={"Vary": "Accept"})

    seen = after if last_event_id is None else _seq(last_event_id)
    if job.done and not (await services.database.query(jobs.event_page, job_id, seen, 1))[0]:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "Vary": "Accept"}
    return StreamingResponse(_stream(services, job_id, seen), headers=headers, media_type=_STREAM)


async def _stream(services: Services, job_id: str, seen: int) -> AsyncIterator[str]:
    """The events above `seen`, from the table: whatever process wrote them, and however often clients reconnect."""
    began = said = time.monotonic()
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    while time.monotonic() - began < services.settings.api.stream_seconds:
        events, _ = await services.database.query(jobs.event_page, job_id, seen, _BATCH)
        if events:
            seen, said = events[-1].seq, time.monotonic()
            yield "".join(_frame(event) for event in events)
            if events[-1].type == "done":
                return
        elif time.monotonic() - said > _PING_SECONDS:
            said = time.monotonic()
            yield ": ping\n\n"
        if len(events) < _BATCH:
            await asyncio.sleep(_LOOK_SECONDS)


def _frame(event: Event) -> str:
    name = "".join(event.type.split()) or "message"  # a line break would end the field
    return f"id: {event.seq}\nevent: {name}\ndata: {event.model_dump_json()}\n\n"


def _seq(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 9):
        raise InvalidHeader(f"Last-Event-ID is {last_event_id[:100]!r}; it must be the number of an event.")
    return int(last_event_id)
