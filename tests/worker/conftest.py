"""A worker in the process of the test, whose children do what `tests.rig_work` says."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.contract.resources import Job
from service.settings import LimitSettings
from tests.rig import Rig
from worker import child
from worker.tasks import run_job
from worker.workplace import Workplace

GIB = 2**30


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A data folder with a database; children may use 3 GiB."""
    rig = Rig(tmp_path, limits=LimitSettings(job_memory_bytes=3 * GIB))
    yield rig
    rig.close()


@pytest.fixture
def place(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    # Without torch the fork server starts in no time; children that need it import it.
    monkeypatch.setattr(child, "PRELOADED", ["worker.child", "tests.rig_work"])
    place = Workplace(rig.settings, "tests.rig_work:run", "tests.rig_work:inspect")
    yield place
    place.database.close()


@pytest.fixture
def run(rig: Rig, place: Workplace) -> Callable[[str], Job]:
    """Runs one job to its end, as a message would, and returns it."""

    def run(work: str) -> Job:
        job_id = rig.job(work)
        run_job(place, job_id)
        return rig.get(job_id)

    return run
