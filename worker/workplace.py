"""What the tasks of one worker process share."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from uuid import uuid4

from service.queue import Doorbell
from service.settings import Settings
from service.store.blobs import Blobs
from service.store.database import Database
from worker.limits import compute_threads
from worker.order import ChildLimits, UploadFile

__all__ = ["Workplace"]


class Workplace:
    """One worker process: its name, its database, what it is doing, and whether it shall stop.

    The functions that the children call are named here, `module:function`, so that tests can have other ones called.
    """

    def __init__(
        self,
        settings: Settings,
        job_work: str = "worker.pipeline:run",
        inspection_work: str = "worker.inspection:inspect",
    ) -> None:
        self.settings = settings
        self.job_work = job_work
        self.inspection_work = inspection_work
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self.database = Database(settings.sqlalchemy_url)
        self.blobs = Blobs(settings.data_dir)
        self.doorbell = Doorbell(settings)
        self.stopping = Event()
        self.active = 0
        self.active_changed_at = time.monotonic()
        self._lock = Lock()

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Count a task while it runs, for those who watch whether messages still arrive."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def upload(self, upload_id: str, name: str, sha256: str) -> UploadFile:
        """Where the child finds an upload."""
        return UploadFile(id=upload_id, name=name, sha256=sha256, path=self.blobs.path(sha256))

    @property
    def limits(self) -> ChildLimits:
        """What a child may use."""
        limits, jobs = self.settings.limits, self.settings.jobs
        return ChildLimits(
            memory_bytes=limits.job_memory_bytes,
            cpu_seconds=limits.job_cpu_seconds,
            file_bytes=limits.job_file_bytes,
            dataset_bytes=limits.dataset_bytes,
            model_nodes=limits.model_nodes,
            threads=compute_threads(jobs.threads, jobs.concurrency),
            device=jobs.device,
        )

    def _count(self, difference: int) -> None:
        with self._lock:
            self.active += difference
            self.active_changed_at = time.monotonic()
