"""Whatever dies, each job ends exactly once: real broker, real workers, real children, real signals."""

import random
import signal
import subprocess

from service.contract.resources import JobState, UploadState
from service.folders import JobFolder
from service.queue import redis_client
from service.store import jobs
from tests.e2e.conftest import Yard
from tests.rig import PATIENCE, lives, wait_until

SEED = 20


def test_jobs_end_exactly_once_while_workers_are_killed_and_the_queue_is_lost(yard: Yard) -> None:
    """30 jobs, 4 to 8 SIGKILLs, every fifth message never sent, one FLUSHALL, one SIGKILL of the broker.

    Four of the jobs cannot end before a worker was killed in the midst of them, so that every such kill hits.
    """
    rig, chance = yard.rig, random.Random(SEED)
    workers = [yard.worker(), yard.worker()]
    endless = {rig.job("until_told", max_attempts=20) for _ in range(4)}
    job_ids = sorted(endless) + [rig.job("steps", max_attempts=20) for _ in range(26)]
    chance.shuffle(job_ids)
    for number, job_id in enumerate(job_ids):
        if number % 5:
            yard.doorbell.ring_job(job_id)

    def at_work() -> list[tuple[str, subprocess.Popen[bytes]]]:
        """The endless jobs that run, each with its worker."""
        return [(job_id, worker) for job_id in endless for worker in workers if rig.owner(job_id) == worker.pid]

    for number in range(len(endless)):
        wait_until(lambda: bool(at_work()))
        job_id, worker = at_work()[0]
        for victim in list(workers) if chance.random() < 0.5 else [worker]:
            victim.kill()
            victim.wait()
            workers[workers.index(victim)] = yard.worker()
        JobFolder(rig.settings.data_dir, job_id).work.joinpath("go").touch()
        endless.remove(job_id)
        if number == 1:
            redis_client(rig.settings).flushall()
        if number == 2:
            assert yard.valkey.process is not None
            yard.valkey.process.kill()
            yard.valkey.process.wait()
            yard.valkey.start()
    wait_until(lambda: all(rig.get(job_id).done for job_id in job_ids))

    found = [rig.get(job_id) for job_id in job_ids]
    assert {job.status for job in found} == {JobState.SUCCEEDED}
    assert [rig.ends(job.id) for job in found] == [1] * len(found)
    assert sum(job.attempt > 1 for job in found) >= 4  # the kills did hit jobs
    yard.sweep()
    for job in found:
        wait_until(lambda job=job: _folders(yard, job.id) == [f"attempt-{job.attempt}"])
        with rig.database.read() as c:
            [artifact], _ = jobs.artifact_page(c, job.id)
        assert (rig.settings.data_dir / artifact.path).read_bytes() == b"pruned"


def test_a_job_whose_worker_is_killed_goes_on_from_its_checkpoint(yard: Yard) -> None:
    rig = yard.rig
    worker = yard.worker()
    job_id = rig.job("pid_once")
    yard.doorbell.ring_job(job_id)
    wait_until(lambda: "pid" in dict(rig.events(job_id)))
    child = int(dict(rig.events(job_id))["pid"])
    worker.kill()
    wait_until(lambda: not lives(child))
    yard.worker()
    job = rig.wait_for_end(job_id)
    assert (job.status, job.attempt) == (JobState.SUCCEEDED, 2)
    assert ("step", "found what attempt 1 left") in rig.events(job_id)
    assert rig.ends(job_id) == 1


def test_a_job_that_takes_every_worker_with_it_fails_as_worker_lost(yard: Yard) -> None:
    rig = yard.rig
    job_id = rig.job("pid", max_attempts=2)
    yard.doorbell.ring_job(job_id)
    for attempt in (1, 2):
        worker = yard.worker()
        wait_until(lambda attempt=attempt: _count(yard, job_id, "pid") == attempt)
        worker.kill()
    job = rig.wait_for_end(job_id)
    assert job.status == JobState.FAILED
    assert job.error is not None
    assert (job.error.code, job.attempt) == ("worker-lost", 2)
    wait_until(lambda: not JobFolder(rig.settings.data_dir, job_id).path.exists())


def test_a_worker_that_is_told_to_stop_hands_its_job_to_another(yard: Yard) -> None:
    rig = yard.rig
    worker = yard.worker()
    job_id = rig.job("pid_once", max_attempts=1)
    yard.doorbell.ring_job(job_id)
    wait_until(lambda: "pid" in dict(rig.events(job_id)))
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert rig.get(job_id).status == JobState.QUEUED
    assert not lives(int(dict(rig.events(job_id))["pid"]))
    yard.worker()
    assert rig.wait_for_end(job_id).status == JobState.SUCCEEDED


def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(yard: Yard) -> None:
    rig = yard.rig
    sleeper = yard.worker()
    job_id = rig.job("until_told")
    yard.doorbell.ring_job(job_id)
    wait_until(lambda: rig.get(job_id).stage == "finetune")
    sleeper.send_signal(signal.SIGSTOP)
    JobFolder(rig.settings.data_dir, job_id).work.joinpath("go").touch()  # its child ends, but cannot be heard
    yard.worker()
    job = rig.wait_for_end(job_id)
    events = rig.events(job_id)
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: not JobFolder(rig.settings.data_dir, job_id).attempt(1).exists())
    assert (job.status, job.attempt) == (JobState.SUCCEEDED, 2)
    assert rig.get(job_id) == job
    assert rig.events(job_id) == events


def test_a_running_job_is_cancelled_wherever_it_is(yard: Yard) -> None:
    rig = yard.rig
    yard.worker()
    job_id = rig.job("deaf")
    yard.doorbell.ring_job(job_id)
    wait_until(lambda: "pid" in dict(rig.events(job_id)))
    rig.cancel(job_id)
    assert rig.wait_for_end(job_id).status == JobState.CANCELLED
    assert not lives(int(dict(rig.events(job_id))["pid"]))


def test_workers_find_a_broker_that_was_away(yard: Yard) -> None:
    rig = yard.rig
    yard.worker()
    first = rig.job("quick")
    yard.doorbell.ring_job(first)
    rig.wait_for_end(first)
    yard.valkey.stop()
    second = rig.job("quick")
    assert not yard.doorbell.ring_job(second)
    yard.valkey.start()
    assert rig.wait_for_end(second).status == JobState.SUCCEEDED


def test_an_inspection_does_not_wait_behind_a_job(yard: Yard) -> None:
    rig = yard.rig
    yard.worker("jobs")
    yard.worker("inspections")
    job_id = rig.job("pid")
    yard.doorbell.ring_job(job_id)
    wait_until(lambda: rig.get(job_id).stage == "finetune")
    upload = rig.upload(b"a model")
    yard.doorbell.ring_inspection(upload.id)
    wait_until(lambda: rig.get_upload(upload.id).status == UploadState.READY)
    assert rig.get(job_id).status == JobState.RUNNING


def test_an_inspection_whose_worker_is_killed_is_done_by_another(yard: Yard) -> None:
    rig = yard.rig
    worker = yard.worker("inspections")
    upload = rig.upload(b"sleepy once")
    yard.doorbell.ring_inspection(upload.id)
    wait_until(lambda: (rig.settings.data_dir / "inspections" / upload.id).exists())
    worker.kill()
    yard.worker("inspections")
    wait_until(lambda: rig.get_upload(upload.id).status == UploadState.READY)


def _folders(yard: Yard, job_id: str) -> list[str]:
    return [path.name for path in JobFolder(yard.rig.settings.data_dir, job_id).path.iterdir()]


def _count(yard: Yard, job_id: str, type_: str) -> int:
    return sum(found == type_ for found, _ in yard.rig.events(job_id))
