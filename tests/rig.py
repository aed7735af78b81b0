"""A service without its API: a data folder with a database and rows, for tests of what happens to jobs."""

import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select

from service.contract.recipe import Recipe
from service.contract.resources import TERMINAL_STATES, Dataset, Job, Model
from service.settings import JobSettings, LimitSettings, Settings
from service.store import jobs, tables, uploads
from service.store.blobs import Blobs
from service.store.database import Database
from service.store.migrate import migrate
from tests.rig_work import PROFILE

__all__ = ["PATIENCE", "Rig", "lives", "wait_until"]

# Ends a test that hangs. No test counts on something being faster than this, however busy the machine.
PATIENCE = 240.0


class Rig:
    """`work` in the name of a job tells the child functions of `tests.rig_work` what to do."""

    def __init__(self, data_dir: Path, *, lease_seconds: float = 30.0, limits: LimitSettings | None = None) -> None:
        self.settings = Settings(
            data_dir=data_dir,
            database_url=None,
            redis_url=None,
            jobs=JobSettings(lease_seconds=lease_seconds, threads=1, device="cpu", reconcile_seconds=0.2),
            limits=limits or LimitSettings(),
        )
        migrate(self.settings)
        self.database = Database(self.settings.sqlalchemy_url)
        self.blobs = Blobs(data_dir)
        self.blobs.prepare()

    def upload(self, content: bytes = b"") -> Model | Dataset:
        """A model that waits for its inspection."""
        content = content or uuid4().bytes
        digest = sha256(content).hexdigest()
        path = self.blobs.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with self.database.write() as c:
            return uploads.add(
                c, kind="model", name="m", sha256=digest, size_bytes=len(content), max_attempts=3
            ).upload  # fmt: skip

    def job(self, work: str = "quick", max_attempts: int = 3) -> str:
        """A queued job whose model's bytes say what its child shall do. Returns its id."""
        model = self.upload(f"{work} {uuid4()}".encode())
        with self.database.write() as c:
            claim = uploads.claim_inspection(c, model.id, "rig", 60)
            assert claim
            assert uploads.finish_inspection(c, model.id, claim.attempt, PROFILE)
            recipe = Recipe.model_validate({"target": {"macs": 0.5}})
            return jobs.create(c, model_id=model.id, dataset_id=None, recipe=recipe, max_attempts=max_attempts).id

    def get(self, job_id: str) -> Job:
        with self.database.read() as c:
            job = jobs.get(c, job_id)
        assert job is not None
        return job

    def get_upload(self, upload_id: str) -> Model | Dataset:
        with self.database.read() as c:
            upload = uploads.get(c, "model", upload_id)
        assert upload is not None
        return upload

    def cancel(self, job_id: str) -> None:
        with self.database.write() as c:
            jobs.request_cancel(c, job_id)

    def events(self, job_id: str) -> list[tuple[str, str]]:
        """(type, message) of all events."""
        with self.database.read() as c:
            page, _ = jobs.event_page(c, job_id, limit=10_000)
        return [(event.type, event.message) for event in page]

    def ends(self, job_id: str) -> int:
        """How often a job ended: 1, or the service is broken."""
        return sum(type_ == "done" for type_, _ in self.events(job_id))

    def owner(self, job_id: str) -> int | None:
        """Pid of the worker process that holds a job."""
        with self.database.read() as c:
            name = c.scalar(select(tables.jobs.c.lease_owner).where(tables.jobs.c.id == job_id))
        return int(name.split("-")[-2]) if name else None

    def wait_for_end(self, job_id: str, seconds: float = PATIENCE) -> Job:
        wait_until(lambda: self.get(job_id).status in TERMINAL_STATES, seconds)
        return self.get(job_id)

    def close(self) -> None:
        self.database.close()


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something to become true; an AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for yet does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state) and not state.startswith("Z")
