"""What the routes work with. Made once per application, never global."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Semaphore
from typing import Annotated

from fastapi import Depends, Request

from service.metrics import Metrics
from service.queue import Doorbell
from service.settings import Settings
from service.store import jobs, uploads
from service.store.blobs import Blobs
from service.store.database import Database

__all__ = ["Ringer", "Services", "UseServices"]


class Ringer:
    """Rings the doorbell after the answer's transaction, without keeping the answer.

    One thread of its own: a broker that hangs holds up nothing else. When rings pile up they are dropped, since the
    reconciler finds every row that was not rung for.
    """

    _PILE = 100

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="doorbell")
        self._room = Semaphore(self._PILE)

    def job(self, job_id: str) -> None:
        """Say that a job waits, and note in its row that this was said."""

        def ring() -> None:
            if self._doorbell.ring_job(job_id):
                with self._database.write() as c:
                    jobs.mark_enqueued(c, [job_id])

        self._submit(ring)

    def inspection(self, upload_id: str) -> None:
        """Say that an upload waits to be inspected, and note it."""

        def ring() -> None:
            if self._doorbell.ring_inspection(upload_id):
                with self._database.write() as c:
                    uploads.mark_inspections_enqueued(c, [upload_id])

        self._submit(ring)

    def close(self) -> None:
        """Drop the rings that wait, and finish the one that is under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, ring: Callable[[], None]) -> None:
        if self._room.acquire(blocking=False):
            self._thread.submit(ring).add_done_callback(lambda _: self._room.release())


@dataclass(frozen=True)
class Services:
    """Settings, and the parts that were opened with them."""

    settings: Settings
    database: Database
    blobs: Blobs
    doorbell: Doorbell
    ringer: Ringer
    metrics: Metrics


async def _services(request: Request) -> Services:
    # async: FastAPI would send a plain function to a thread, which costs more than most answers
    services: Services = request.app.state.services
    return services


UseServices = Annotated[Services, Depends(_services)]
