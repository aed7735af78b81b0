"""For those who operate the service."""

import asyncio
import os
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from service.errors import NotReady
from service.metrics import WORKER_SEEN_SECONDS
from service.routes.responses import answer, bodyless, problems
from service.services import Services, UseServices
from service.store import workers
from service.store.migrate import is_current

__all__ = ["router"]

router = APIRouter(tags=["operations"])

_CHECK_SECONDS = 3.0


class Health(BaseModel):
    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """What each part that the service depends on had to say."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]


@router.get(
    "/healthz", operation_id="healthz", summary="Is the process alive", response_model=Health, responses=problems()
)
async def healthz() -> Response:
    """Looks at nothing outside of the process."""
    return answer(Health())


@router.head(
    "/healthz",
    operation_id="head_healthz",
    summary="Is the process alive",
    response_class=Response,
    responses=bodyless(problems()),
)
async def head_healthz() -> Response:
    """For probes that only look at the status."""
    return Response()


@router.get(
    "/readyz", operation_id="readyz", summary="Can jobs be done", response_model=Readiness, responses=problems(NotReady)
)
async def readyz(services: UseServices) -> Response:
    """Asks the database, the broker, the storage, and for a worker that was heard of lately."""
    parts: dict[str, Callable[[Services], str]] = {
        "database": _database,
        "broker": _broker,
        "storage": _storage,
        "worker": _worker,
    }
    said = await asyncio.gather(*(_ask(check, services) for check in parts.values()))
    checks = dict(zip(parts, said, strict=True))
    failing = [name for name, verdict in checks.items() if verdict != "ok"]
    if failing:
        raise NotReady(f"Not ready: {', '.join(failing)}.", headers={"Retry-After": "5"}, extensions={"checks": checks})
    return answer(Readiness(checks=checks))


@router.head(
    "/readyz",
    operation_id="head_readyz",
    summary="Can jobs be done",
    response_class=Response,
    responses=bodyless(problems(NotReady)),
)
async def head_readyz(services: UseServices) -> Response:
    """For probes that only look at the status."""
    return Response(status_code=(await readyz(services)).status_code)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses=problems(also={200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}}),
)
def metrics(services: UseServices) -> Response:
    return Response(services.metrics.exposition(), media_type="text/plain; version=1.0.0; charset=utf-8")


async def _ask(check: Callable[[Services], str], services: Services) -> str:
    """What a check says, or why it could not say anything."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(check, services), _CHECK_SECONDS)
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001, whatever a part fails with is what the operator wants to know
        return type(error).__name__


def _database(services: Services) -> str:
    with services.database.read() as c:
        return "ok" if is_current(c) else "migrations are missing; run `secateur migrate`"


def _broker(services: Services) -> str:
    return "ok" if services.doorbell.ping() else "does not answer"


def _storage(services: Services) -> str:
    if not os.access(services.blobs.root / "staging", os.W_OK):
        return "not writable"
    free = services.blobs.free_bytes()
    return "ok" if free > services.settings.limits.free_disk_bytes else f"only {free} bytes are free"


def _worker(services: Services) -> str:
    with services.database.read() as c:
        seen = workers.seen_within(c, WORKER_SEEN_SECONDS)
    return "ok" if seen else f"none was heard of within {WORKER_SEEN_SECONDS:g} s"
