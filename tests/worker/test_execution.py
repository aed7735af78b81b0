"""From a claimed row to its end: every way in which a child can end, on a real database with real processes."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.contract.resources import Job, JobState, UploadState
from service.folders import JobFolder
from service.settings import LimitSettings
from service.store import jobs
from tests.rig import Rig, lives, wait_until
from worker import process
from worker.tasks import inspect_upload, run_job
from worker.workplace import Workplace

GIB = 2**30
Run = Callable[[str], Job]


def test_a_job_that_succeeds_publishes_its_files_and_nothing_else_stays(rig: Rig, run: Run) -> None:
    job = run("quick")
    assert job.status == JobState.SUCCEEDED
    assert (job.verdict, job.attempt, job.progress.fraction) == ("PASS", 1, 1.0)
    files = {str(path.relative_to(rig.settings.data_dir)) for path in rig.settings.data_dir.glob("jobs/**/*.*")}
    assert files == {f"jobs/{job.id}/attempt-1/model.onnx"}
    assert [path.name for path in JobFolder(rig.settings.data_dir, job.id).path.iterdir()] == ["attempt-1"]


def test_what_the_child_says_becomes_events_in_order(rig: Rig, run: Run) -> None:
    events = rig.events(run("quick").id)
    assert [type_ for type_, _ in events] == [
        "state", "state", "log", "stage", "metrics", "progress", "warning", "done",
    ]  # fmt: skip
    assert ("stage", "load") in events
    assert ("warning", "few samples") in events


def test_a_refusal_of_the_engine_is_shown_with_its_stage(run: Run) -> None:
    job = run("refused")
    assert job.status == JobState.FAILED
    assert job.error is not None
    assert job.error.model_dump() == {
        "type": "/v1/problems/nothing-removed",
        "code": "nothing-removed",
        "title": "Nothing was removed",
        "detail": "nothing was removed: all 3 groups are protected",
        "stage": "prune",
        "retryable": False,
    }
    assert job.attempt == 1


def test_a_bug_shows_a_reference_and_its_traceback_goes_to_the_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    job = run("bug")
    assert job.error is not None
    assert (job.error.code, job.error.stage) == ("internal-error", "audit")
    assert "alice" not in job.error.model_dump_json()
    reference = job.error.detail.split("reference ")[1].split(";")[0]
    [record] = [record for record in caplog.records if reference in record.getMessage()]
    assert "a secret path /home/alice" in record.getMessage()


@pytest.mark.parametrize("work", ["hungry_python", "hungry_cpp"])
def test_memory_that_is_refused_names_the_limit(run: Run, work: str) -> None:
    job = run(work)
    assert job.error is not None
    assert job.error.code == "out-of-memory"
    assert "3 GiB" in job.error.detail


def test_memory_that_torch_is_refused_names_the_limit_and_the_next_job_runs(run: Run) -> None:
    job = run("hungry")
    assert job.error is not None
    assert (job.error.code, job.error.stage) == ("out-of-memory", "baseline")
    assert "3 GiB" in job.error.detail
    assert run("quick").status == JobState.SUCCEEDED


def test_a_child_killed_from_outside_ends_the_job_without_a_second_attempt(run: Run) -> None:
    job = run("killed")
    assert job.status == JobState.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.stage, job.attempt) == ("out-of-memory", "finetune", 1)
    assert "signal 9" in job.error.detail
    assert "3 GiB" in job.error.detail


def test_a_segmentation_fault_is_our_error_and_names_the_signal_in_the_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    job = run("segfault")
    assert job.error is not None
    assert job.error.code == "internal-error"
    assert "SIGSEGV" in caplog.text
    assert "rig_work.py" in caplog.text  # the line of Python where it happened


def test_cpu_time_is_limited(tmp_path: Path, place: Workplace) -> None:
    rig = Rig(tmp_path / "short", limits=LimitSettings(job_cpu_seconds=1))
    place = Workplace(rig.settings, "tests.rig_work:run")
    job_id = rig.job("spin")
    run_job(place, job_id)
    error = rig.get(job_id).error
    assert error is not None
    assert error.code == "time-limit"
    assert "1 s of CPU time" in error.detail


def test_a_child_that_reports_no_progress_is_ended(tmp_path: Path, place: Workplace) -> None:
    rig = Rig(tmp_path / "short", limits=LimitSettings(job_stall_seconds=1))
    place = Workplace(rig.settings, "tests.rig_work:run")
    job_id = rig.job("silent")
    run_job(place, job_id)
    error = rig.get(job_id).error
    assert error is not None
    assert (error.code, error.stage) == ("time-limit", "prune")
    assert "no progress for 1 s" in error.detail


@pytest.mark.parametrize("work", ["pid", "deaf"])
def test_a_cancelled_job_stops_and_its_process_is_gone(rig: Rig, place: Workplace, work: str) -> None:
    job_id = rig.job(work)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run_job, place, job_id)
        wait_until(lambda: "pid" in dict(rig.events(job_id)))
        rig.cancel(job_id)
        running.result()
    assert rig.get(job_id).status == JobState.CANCELLED
    assert rig.ends(job_id) == 1
    assert not lives(int(dict(rig.events(job_id))["pid"]))
    assert not JobFolder(rig.settings.data_dir, job_id).path.exists()


def test_a_job_that_was_cancelled_before_it_began_is_not_begun(rig: Rig, place: Workplace) -> None:
    job_id = rig.job("quick")
    rig.cancel(job_id)
    run_job(place, job_id)
    assert (rig.get(job_id).status, rig.get(job_id).attempt) == (JobState.CANCELLED, 0)


def test_a_job_can_be_cancelled_while_its_process_is_still_to_start(rig: Rig, place: Workplace) -> None:
    job_id = rig.job("pid")
    with ThreadPoolExecutor() as threads:
        with process._exit_codes:  # as while the fork server imports torch
            running = threads.submit(run_job, place, job_id)
            wait_until(lambda: rig.get(job_id).status == JobState.RUNNING)
            rig.cancel(job_id)
            running.result()
        assert rig.get(job_id).status == JobState.CANCELLED
    wait_until(lambda: not any(thread.name.startswith("tend-") for thread in threading.enumerate()))
    assert not multiprocessing.active_children()
    assert not JobFolder(rig.settings.data_dir, job_id).path.exists()


def test_a_message_that_comes_twice_runs_the_job_once(rig: Rig, place: Workplace) -> None:
    job_id = rig.job("steps")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: run_job(place, job_id), range(4)))
    run_job(place, job_id)
    assert rig.get(job_id).attempt == 1
    assert rig.ends(job_id) == 1


def test_a_worker_that_stops_hands_its_job_back_without_counting_the_attempt(rig: Rig, place: Workplace) -> None:
    job_id = rig.job("pid_once", max_attempts=1)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run_job, place, job_id)
        wait_until(lambda: "pid" in dict(rig.events(job_id)))
        place.stopping.set()
        running.result()
    assert rig.get(job_id).status == JobState.QUEUED
    assert not lives(int(dict(rig.events(job_id))["pid"]))
    place.stopping.clear()
    run_job(place, job_id)
    job = rig.get(job_id)
    assert (job.status, job.attempt) == (JobState.SUCCEEDED, 2)
    assert ("step", "found what attempt 1 left") in rig.events(job_id)


def test_a_lease_that_was_taken_away_ends_the_child_and_publishes_nothing(rig: Rig, place: Workplace) -> None:
    job_id = rig.job("pid")
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run_job, place, job_id)
        wait_until(lambda: "pid" in dict(rig.events(job_id)))
        with rig.database.write() as c:
            assert jobs.hand_back(c, job_id, 1)
            claim = jobs.claim(c, job_id, "another worker", 60)
        running.result()
    assert claim is not None
    assert (rig.get(job_id).status, rig.get(job_id).attempt) == (JobState.RUNNING, 2)
    assert not lives(int(dict(rig.events(job_id))["pid"]))
    assert not JobFolder(rig.settings.data_dir, job_id).attempt(1).exists()
    assert JobFolder(rig.settings.data_dir, job_id).work.exists()  # it is attempt 2's now


def test_a_file_that_is_not_what_the_child_said_is_not_published(rig: Rig, run: Run) -> None:
    job = run("liar")
    assert job.status == JobState.FAILED
    with rig.database.read() as c:
        assert jobs.artifact_page(c, job.id) == ([], None)


def test_a_child_cannot_fill_the_database(rig: Rig, run: Run) -> None:
    job = run("babbler")
    assert job.status == JobState.SUCCEEDED
    with rig.database.read() as c:
        page, _ = jobs.event_page(c, job.id, after=19_990, limit=100)
    assert any("the rest is not kept" in event.message for event in page)
    assert page[-1].seq < 20_010


def test_what_a_child_prints_without_end_does_not_block_it(run: Run) -> None:
    assert run("printer").status == JobState.SUCCEEDED


def test_a_child_that_sends_a_pickle_is_not_listened_to(run: Run) -> None:
    job = run("gibberish")
    assert job.error is not None
    assert job.error.code == "internal-error"


def test_a_database_that_is_away_for_less_than_the_lease_is_waited_for(
    rig: Rig, place: Workplace
) -> None:  # fmt: skip
    job_id = rig.job("steps")
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run_job, place, job_id)
        wait_until(lambda: rig.get(job_id).stage == "finetune")
        holder = threading.Event()
        blocked = threads.submit(_block, rig, holder)
        time.sleep(1)
        holder.set()
        blocked.result()
        running.result()
    assert rig.get(job_id).status == JobState.SUCCEEDED


def _block(rig: Rig, until: threading.Event) -> None:
    with rig.database.write():
        until.wait()


def test_an_inspection_makes_the_upload_ready(rig: Rig, place: Workplace) -> None:
    upload = rig.upload(b"a model")
    inspect_upload(place, upload.id)
    found = rig.get_upload(upload.id)
    assert found.status == UploadState.READY
    assert found.profile is not None
    assert not list((rig.settings.data_dir / "inspections").iterdir())


def test_an_inspection_that_refuses_makes_the_upload_rejected(rig: Rig, place: Workplace) -> None:
    upload = rig.upload(b"pickle")
    inspect_upload(place, upload.id)
    found = rig.get_upload(upload.id)
    assert found.status == UploadState.REJECTED
    assert found.error is not None
    assert (found.error.code, found.error.detail) == ("nothing-removed", "a pickle")


def test_an_upload_that_crashes_its_reader_is_rejected(rig: Rig, place: Workplace) -> None:
    upload = rig.upload(b"segfault")
    inspect_upload(place, upload.id)
    found = rig.get_upload(upload.id)
    assert found.status == UploadState.REJECTED
    assert found.error is not None
    assert found.error.code == "internal-error"
