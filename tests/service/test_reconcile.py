"""One round of the reconciler, on real rows and a real broker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from service.contract.resources import JobResult, JobState, UploadState
from service.folders import JobFolder
from service.queue import Doorbell, Queue, redis_client
from service.reconcile import Reconciler
from service.store import jobs, uploads
from service.store.clock import now
from service.store.tables import jobs as jobs_table
from service.store.tables import uploads as uploads_table
from service.valkey import Valkey
from tests.rig import Rig
from worker.order import JobOutcome


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def broker(rig: Rig) -> Iterator[Valkey]:
    valkey = Valkey(rig.settings)
    valkey.start()
    yield valkey
    valkey.stop()


@pytest.fixture
def reconciler(rig: Rig) -> Reconciler:
    return Reconciler(rig.settings, rig.database, Doorbell(rig.settings))


def _claim(rig: Rig, job_id: str, lease_seconds: float) -> None:
    with rig.database.write() as c:
        assert jobs.claim(c, job_id, "a worker", lease_seconds)


def _depth(rig: Rig, queue: Queue = Queue.JOBS) -> int | None:
    return Doorbell(rig.settings).depth(queue)


def test_a_job_whose_lease_ran_out_is_queued_again_and_rung_for(
    rig: Rig, broker: Valkey, reconciler: Reconciler
) -> None:  # fmt: skip
    job_id = rig.job()
    _claim(rig, job_id, lease_seconds=-1)
    reconciler.round()
    assert rig.get(job_id).status == JobState.QUEUED
    assert _depth(rig) == 1


def test_a_job_whose_lease_lasts_is_left_alone(rig: Rig, broker: Valkey, reconciler: Reconciler) -> None:
    job_id = rig.job()
    _claim(rig, job_id, lease_seconds=60)
    reconciler.round()
    assert rig.get(job_id).status == JobState.RUNNING
    assert _depth(rig) == 0


def test_a_job_whose_attempts_are_used_up_fails_and_its_files_go(rig: Rig, reconciler: Reconciler) -> None:
    job_id = rig.job(max_attempts=1)
    _claim(rig, job_id, lease_seconds=-1)
    folder = JobFolder(rig.settings.data_dir, job_id)
    folder.prepare(1)
    reconciler.round()
    job = rig.get(job_id)
    assert job.status == JobState.FAILED
    assert job.error is not None
    assert job.error.code == "worker-lost"
    assert not folder.path.exists()


def test_a_cancelling_job_whose_worker_died_is_cancelled(rig: Rig, reconciler: Reconciler) -> None:
    job_id = rig.job()
    _claim(rig, job_id, lease_seconds=-1)
    rig.cancel(job_id)
    reconciler.round()
    assert rig.get(job_id).status == JobState.CANCELLED


def test_a_message_that_was_never_sent_is_sent_once(rig: Rig, broker: Valkey, reconciler: Reconciler) -> None:
    rig.job()
    for _ in range(5):
        reconciler.round()
    assert _depth(rig) == 1


def test_messages_that_were_lost_are_sent_again_once_they_are_overdue(
    rig: Rig, broker: Valkey, reconciler: Reconciler
) -> None:
    for _ in range(3):
        rig.job()
    reconciler.round()
    redis_client(rig.settings).flushall()
    reconciler.round()
    assert _depth(rig) == 0  # they were sent a moment ago and may be on their way
    with rig.database.write() as c:
        c.execute(update(jobs_table).values(enqueued_at=now() - 60))
    reconciler.round()
    assert _depth(rig) == 3


def test_a_slow_queue_is_not_flooded(rig: Rig, broker: Valkey, reconciler: Reconciler) -> None:
    for _ in range(3):
        rig.job()
    reconciler.round()
    with rig.database.write() as c:
        c.execute(update(jobs_table).values(enqueued_at=now() - 3600))
    for _ in range(5):
        reconciler.round()
    assert _depth(rig) == 3


def test_a_broker_that_is_away_leaves_the_rows_to_be_rung_for(rig: Rig, reconciler: Reconciler) -> None:
    job_id = rig.job()
    reconciler.round()
    with rig.database.read() as c:
        assert jobs.unrung(c, 5) == [job_id]


def test_inspections_are_recovered_and_rung_for_likewise(rig: Rig, broker: Valkey, reconciler: Reconciler) -> None:
    lost, silent = rig.upload(), rig.upload()
    with rig.database.write() as c:
        assert uploads.claim_inspection(c, lost.id, "a worker", -1)
    reconciler.round()
    assert _depth(rig, Queue.INSPECTIONS) == 2
    with rig.database.write() as c:
        c.execute(update(uploads_table).where(uploads_table.c.id == lost.id).values(max_attempts=2))
        assert uploads.claim_inspection(c, lost.id, "a worker", -1)
    reconciler.round()
    assert rig.get_upload(lost.id).status == UploadState.REJECTED
    assert rig.get_upload(silent.id).status == UploadState.INSPECTING


def test_what_a_worker_left_that_died_after_the_end_is_removed_and_the_result_stays(
    rig: Rig, reconciler: Reconciler
) -> None:
    ended, running = rig.job(), rig.job()
    for job_id in (ended, running):
        _claim(rig, job_id, lease_seconds=60)
        JobFolder(rig.settings.data_dir, job_id).prepare(1)
    (JobFolder(rig.settings.data_dir, ended).path / "attempt-0").mkdir()
    outcome = JobOutcome(
        verdict="PASS",
        result=JobResult(macs=1, macs_ratio=0.5, params=1, params_ratio=0.5),
        recipe=rig.get(ended).recipe,
        warnings=[],
        artifacts=[],
    )
    with rig.database.write() as c:
        assert jobs.finish_succeeded(c, ended, 1, outcome)
    reconciler.sweep()
    assert [path.name for path in JobFolder(rig.settings.data_dir, ended).path.iterdir()] == ["attempt-1"]
    assert JobFolder(rig.settings.data_dir, running).work.is_dir()
