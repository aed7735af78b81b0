"""The reconciler: whatever dies, every job and every inspection comes to an end.

    a lease ran out             → queued again, or failed as `worker-lost` when its attempts are used up
    queued, and no message left → ring again
    ended, and files left over  → remove them

Any number of copies may run at once: each change is one fenced UPDATE, and a doubled message is harmless.
"""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from service.contract.resources import JobState
from service.folders import JobFolder, untidy_jobs
from service.queue import Doorbell, Queue
from service.settings import Settings
from service.store import jobs, uploads
from service.store.database import Database

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)

# A message this old may be lost; one that is younger is probably on its way.
_RING_AGAIN_SECONDS = 5.0
_RINGS_PER_ROUND = 100
_SWEEP_SECONDS = 60.0


class Reconciler:
    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell

    def run(self, stop: threading.Event) -> None:
        """A round every `reconcile_seconds`, until told to stop. A database that is away is tried again."""
        swept_at = -_SWEEP_SECONDS
        while not stop.wait(self._settings.jobs.reconcile_seconds):
            try:
                self.round()
                if time.monotonic() - swept_at > _SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self.sweep()
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", error)

    def round(self) -> None:
        """Look at everything once."""
        self._revoke_dead_leases()
        self._ring_for_jobs()
        self._ring_for_inspections()

    def sweep(self) -> None:
        """Remove what workers left that died between the end of a job and its tidying."""
        for folder in untidy_jobs(self._settings.data_dir):
            with self._database.read() as c:
                job = jobs.get(c, folder.job_id)
            if job is not None and job.done:
                folder.tidy(winner=job.attempt if job.status == JobState.SUCCEEDED else None)

    def _revoke_dead_leases(self) -> None:
        with self._database.write() as c:
            recovered = jobs.recover_expired(c)
            inspections = uploads.recover_expired_inspections(c)
        for job_id in recovered.requeued:
            log.warning("job %s: its worker was lost; queued again", job_id)
        for job_id in recovered.failed + recovered.cancelled:
            log.warning("job %s: its worker was lost; ended", job_id)
            JobFolder(self._settings.data_dir, job_id).tidy(winner=None)
        for upload_id in inspections.requeued + inspections.rejected:
            log.warning("upload %s: its worker was lost", upload_id)

    def _ring_for_jobs(self) -> None:
        with self._database.read() as c:
            missing = self._missing(Queue.JOBS, jobs.count_queued(c))
            silent = jobs.unrung(c, _RING_AGAIN_SECONDS, limit=missing) if missing else []
        rung = [job_id for job_id in silent if self._doorbell.ring_job(job_id)]
        if rung:
            with self._database.write() as c:
                jobs.mark_enqueued(c, rung)

    def _ring_for_inspections(self) -> None:
        with self._database.read() as c:
            missing = self._missing(Queue.INSPECTIONS, uploads.count_inspecting(c))
            silent = uploads.unrung_inspections(c, _RING_AGAIN_SECONDS, limit=missing) if missing else []
        rung = [upload_id for upload_id in silent if self._doorbell.ring_inspection(upload_id)]
        if rung:
            with self._database.write() as c:
                uploads.mark_inspections_enqueued(c, rung)

    def _missing(self, queue: Queue, waiting: int) -> int:
        """Rows without a message; without this look at the queue, a slow worker would drown in repeated messages."""
        if not waiting or (depth := self._doorbell.depth(queue)) is None:
            return 0
        return min(max(0, waiting - depth), _RINGS_PER_ROUND)
