"""Jobs in SQLite and PostgreSQL: claims, leases and ends."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.contract.resources import Event, JobState, Notice
from service.store import jobs, uploads
from service.store.database import Database
from tests.service.examples import ERROR, HALF, Outcome, add_job, add_model, made

LEASE = 30.0
EXPIRED = -1.0


def claimed(database: Database, lease: float = LEASE, **options: int) -> tuple[str, int]:
    """A job, and the attempt that has it."""
    with database.write() as c:
        job = add_job(c, **options)  # type: ignore[arg-type]
        claim = jobs.claim(c, job.id, "first", lease)
    assert claim is not None
    return job.id, claim.attempt


def state(database: Database, job_id: str) -> str:
    with database.read() as c:
        job = jobs.get(c, job_id)
    assert job is not None
    assert job.done == (job.status in ("succeeded", "failed", "cancelled"))
    return job.status.value


def history(database: Database, job_id: str) -> list[Event]:
    with database.read() as c:
        return jobs.event_page(c, job_id)[0]


def test_a_new_job_is_queued_and_says_so_in_its_first_event(database: Database) -> None:
    with database.write() as c:
        job = add_job(c)
    assert (job.status, job.attempt, job.done, job.name) == (JobState.QUEUED, 0, False, "example")
    assert [(e.seq, e.type, e.data) for e in history(database, job.id)] == [(1, "state", {"status": "queued"})]


def test_a_claim_counts_the_attempt_and_carries_what_the_work_needs(database: Database) -> None:
    with database.write() as c:
        job = add_job(c)
        claim = jobs.claim(c, job.id, "first", LEASE)
    assert claim is not None
    assert (claim.attempt, claim.recipe, claim.model.id) == (1, job.recipe, job.model)
    assert claim.dataset is None
    assert state(database, job.id) == "running"


def test_of_many_who_claim_at_once_one_gets_the_job(database: Database) -> None:
    with database.write() as c:
        job = add_job(c)

    def attempt(name: int) -> bool:
        with database.write() as c:
            return jobs.claim(c, job.id, f"worker {name}", LEASE) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_job_whose_lease_ran_out_can_be_claimed_by_another(database: Database) -> None:
    job_id, _ = claimed(database, lease=EXPIRED)
    with database.write() as c:
        claim = jobs.claim(c, job_id, "second", LEASE)
    assert claim is not None
    assert claim.attempt == 2


def test_a_heartbeat_prolongs_the_lease_and_shows_progress(database: Database) -> None:
    job_id, attempt = claimed(database, lease=EXPIRED)
    with database.write() as c:
        before = jobs.get_versioned(c, job_id)
        beat = jobs.heartbeat(c, job_id, attempt, LEASE, stage="prune", fraction=0.25, message="step 1", eta_seconds=9)
        after = jobs.get_versioned(c, job_id)
        assert jobs.claim(c, job_id, "second", LEASE) is None
    assert beat == jobs.Beat(alive=True, cancel=False)
    assert before is not None
    assert after is not None
    assert (after[0].stage, after[0].progress.fraction, after[0].progress.eta_seconds) == ("prune", 0.25, 9)
    assert after[1] > before[1]


def test_a_heartbeat_that_only_prolongs_the_lease_is_no_news(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        before = jobs.get_versioned(c, job_id)
        jobs.heartbeat(c, job_id, attempt, LEASE)
        assert jobs.get_versioned(c, job_id) == before


def test_success_publishes_artifacts_of_the_winning_attempt(database: Database) -> None:
    job_id, attempt = claimed(database)
    outcome = Outcome([made("model.onnx", b"onnx"), made("report.json", b"{}")])
    with database.write() as c:
        assert jobs.finish_succeeded(c, job_id, attempt, outcome)
        job = jobs.get(c, job_id)
        artifacts, _ = jobs.artifact_page(c, job_id)
    assert job is not None
    assert (job.status, job.verdict, job.progress.fraction) == (JobState.SUCCEEDED, "PASS", 1.0)
    assert job.result == outcome.result
    assert [a.path for a in artifacts] == [f"jobs/{job_id}/attempt-1/{n}" for n in ("model.onnx", "report.json")]
    assert history(database, job_id)[-1].type == "done"


def test_what_a_job_was_warned_of_at_submission_stays_with_it_to_its_end(database: Database) -> None:
    assumed, few = Notice(code="input-scale-assumed", detail="1/255"), Notice(code="few-samples", detail="80")
    with database.write() as c:
        job_id = jobs.create(
            c, model_id=add_model(c), dataset_id=None, recipe=HALF, max_attempts=3, warnings=[assumed]
        ).id  # fmt: skip
        claim = jobs.claim(c, job_id, "worker", LEASE)
        assert claim is not None
        assert jobs.finish_succeeded(c, job_id, claim.attempt, Outcome([], warnings=(few, assumed, few)))
        job = jobs.get(c, job_id)
    assert job is not None
    assert job.warnings == [assumed, few]


def test_failure_keeps_its_error(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        assert jobs.finish_failed(c, job_id, attempt, ERROR)
        job = jobs.get(c, job_id)
    assert job is not None
    assert (job.status, job.error) == (JobState.FAILED, ERROR)


@pytest.mark.parametrize("end", ["heartbeat", "events", "succeeded", "failed", "cancelled", "hand_back"])
def test_an_attempt_that_lost_its_job_changes_nothing(database: Database, end: str) -> None:
    job_id, zombie = claimed(database, lease=EXPIRED)
    with database.write() as c:
        claim = jobs.claim(c, job_id, "second", LEASE)
        assert claim is not None
        before = jobs.get_versioned(c, job_id), jobs.event_page(c, job_id)
        accepted = {
            "heartbeat": lambda: jobs.heartbeat(c, job_id, zombie, LEASE, fraction=0.9).alive,
            "events": lambda: jobs.append_events(c, job_id, zombie, [jobs.NewEvent("log", "from the grave")]),
            "succeeded": lambda: jobs.finish_succeeded(c, job_id, zombie, Outcome([made("a", b"")])),
            "failed": lambda: jobs.finish_failed(c, job_id, zombie, ERROR),
            "cancelled": lambda: jobs.finish_cancelled(c, job_id, zombie),
            "hand_back": lambda: jobs.hand_back(c, job_id, zombie),
        }[end]()
        assert not accepted
        assert (jobs.get_versioned(c, job_id), jobs.event_page(c, job_id)) == before
        assert jobs.artifact_page(c, job_id) == ([], None)


def test_a_job_ends_once(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        assert jobs.finish_failed(c, job_id, attempt, ERROR)
        assert not jobs.finish_succeeded(c, job_id, attempt, Outcome([]))
        assert jobs.claim(c, job_id, "second", LEASE) is None
    assert [e.type for e in history(database, job_id)].count("done") == 1


def test_a_queued_job_is_cancelled_at_once(database: Database) -> None:
    with database.write() as c:
        job = jobs.request_cancel(c, add_job(c).id)
        assert job is not None
        assert jobs.claim(c, job.id, "late", LEASE) is None
    assert job.status is JobState.CANCELLED
    assert job.finished_at is not None
    assert history(database, job.id)[-1].type == "done"


def test_a_running_job_is_cancelling_until_its_worker_stopped(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        jobs.request_cancel(c, job_id)
    assert state(database, job_id) == "cancelling"
    with database.write() as c:
        assert jobs.heartbeat(c, job_id, attempt, LEASE) == jobs.Beat(alive=True, cancel=True)
        assert jobs.append_events(c, job_id, attempt, [jobs.NewEvent("log", "stopping")])
        assert jobs.finish_cancelled(c, job_id, attempt)
    assert state(database, job_id) == "cancelled"


@pytest.mark.parametrize("end", ["succeeded", "failed", "hand_back"])
def test_a_cancelling_job_ends_cancelled_whatever_its_worker_says(database: Database, end: str) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        jobs.request_cancel(c, job_id)
        assert {
            "succeeded": lambda: jobs.finish_succeeded(c, job_id, attempt, Outcome([made("a", b"")])),
            "failed": lambda: jobs.finish_failed(c, job_id, attempt, ERROR),
            "hand_back": lambda: jobs.hand_back(c, job_id, attempt),
        }[end]()
        assert jobs.artifact_page(c, job_id) == ([], None)
    assert state(database, job_id) == "cancelled"


def test_nobody_can_cancel_for_a_client(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        assert not jobs.finish_cancelled(c, job_id, attempt)
    assert state(database, job_id) == "running"


def test_asking_to_cancel_again_changes_nothing(database: Database) -> None:
    job_id, _ = claimed(database)
    with database.write() as c:
        jobs.request_cancel(c, job_id)
        first = jobs.get_versioned(c, job_id)
        jobs.request_cancel(c, job_id)
        assert jobs.get_versioned(c, job_id) == first


def test_asking_to_cancel_a_job_that_ended_changes_nothing(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        jobs.finish_failed(c, job_id, attempt, ERROR)
        before = jobs.get_versioned(c, job_id)
        assert before is not None
        assert jobs.request_cancel(c, job_id) == before[0]
        assert jobs.get_versioned(c, job_id) == before
        assert jobs.request_cancel(c, "job_" + "0" * 26) is None


def test_handing_back_does_not_use_up_an_attempt_nor_reuse_its_number(database: Database) -> None:
    job_id, attempt = claimed(database, max_attempts=1)
    with database.write() as c:
        assert jobs.hand_back(c, job_id, attempt)
        assert jobs.unrung(c, older_than_seconds=60) == [job_id]
        again = jobs.claim(c, job_id, "second", LEASE)
        assert again is not None
        assert again.attempt == 2
        assert not jobs.heartbeat(c, job_id, attempt, LEASE).alive


def test_a_dead_lease_puts_the_job_back_in_the_queue(database: Database) -> None:
    job_id, _ = claimed(database, lease=EXPIRED)
    alive, _ = claimed(database)
    with database.write() as c:
        assert jobs.recover_expired(c) == jobs.Recovered([job_id], [], [])
        assert jobs.count_queued(c) == 1
        assert jobs.unrung(c, older_than_seconds=60) == [job_id]
    assert (state(database, job_id), state(database, alive)) == ("queued", "running")


def test_a_dead_lease_of_the_last_attempt_fails_the_job(database: Database) -> None:
    job_id, _ = claimed(database, lease=EXPIRED, max_attempts=1)
    with database.write() as c:
        assert jobs.claim(c, job_id, "second", LEASE) is None
        assert jobs.recover_expired(c) == jobs.Recovered([], [job_id], [])
        job = jobs.get(c, job_id)
    assert job is not None
    assert job.error is not None
    assert (job.status, job.error.code) == (JobState.FAILED, "worker-lost")
    assert job.finished_at is not None


def test_a_dead_lease_of_a_cancelling_job_cancels_it(database: Database) -> None:
    job_id, _ = claimed(database, lease=EXPIRED)
    with database.write() as c:
        jobs.request_cancel(c, job_id)
        assert jobs.recover_expired(c) == jobs.Recovered([], [], [job_id])
    assert state(database, job_id) == "cancelled"


def test_reconcilers_that_run_at_once_recover_a_job_once(database: Database) -> None:
    expired = {claimed(database, lease=EXPIRED)[0] for _ in range(6)}

    def recover(_: int) -> list[str]:
        with database.write() as c:
            return jobs.recover_expired(c).requeued

    with ThreadPoolExecutor(4) as pool:
        recovered = [job_id for found in pool.map(recover, range(4)) for job_id in found]
    assert sorted(recovered) == sorted(expired)


def test_a_job_is_rung_again_only_when_its_message_is_old(database: Database) -> None:
    with database.write() as c:
        job = add_job(c)
        assert jobs.unrung(c, older_than_seconds=60) == [job.id]
        jobs.mark_enqueued(c, [job.id])
        assert jobs.unrung(c, older_than_seconds=60) == []
        assert jobs.unrung(c, older_than_seconds=-1) == [job.id]


def test_events_are_numbered_without_gaps_whoever_writes_them(database: Database) -> None:
    job_id, attempt = claimed(database)

    def write(writer: int) -> None:
        for index in range(5):
            with database.write() as c:
                new = [jobs.NewEvent("log", f"{writer} {index} {part}") for part in range(2)]
                assert jobs.append_events(c, job_id, attempt, new)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with database.read() as c:
        events, following = jobs.event_page(c, job_id, limit=1000)
    assert [e.seq for e in events] == list(range(1, 43))
    assert following is None


def test_events_that_are_rolled_back_leave_no_gap(database: Database) -> None:
    job_id, attempt = claimed(database)

    def write_and_fail() -> None:
        with database.write() as c:
            jobs.append_events(c, job_id, attempt, [jobs.NewEvent("log", "never")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.write() as c:
        jobs.append_events(c, job_id, attempt, [jobs.NewEvent("log", "stays")])
    assert [(e.seq, e.message) for e in history(database, job_id)][-1] == (3, "stays")


def test_numbers_that_json_does_not_know_are_stored_as_null(database: Database) -> None:
    job_id, attempt = claimed(database)
    with database.write() as c:
        jobs.append_events(c, job_id, attempt, [jobs.NewEvent("metrics", "loss", data={"loss": float("nan")})])
    assert history(database, job_id)[-1].data == {"loss": None}


def test_text_survives_whatever_characters_it_has(database: Database) -> None:
    strange = "\u0000 \U0001f333 ' \" \\ %s {} :name \u2028"
    with database.write() as c:
        job = jobs.create(
            c, model_id=add_model(c), dataset_id=None, recipe=add_job(c).recipe, max_attempts=1,
            metadata={"key": strange},
        )  # fmt: skip
    assert job.metadata == {"key": strange}


def test_pages_go_from_new_to_old_and_end(database: Database) -> None:
    with database.write() as c:
        made_ids = [add_job(c).id for _ in range(5)]
        jobs.request_cancel(c, made_ids[0])
    with database.read() as c:
        seen: list[str] = []
        after = None
        while True:
            page, after = jobs.list_page(c, after, limit=2)
            seen += [job.id for job in page]
            if after is None:
                break
        assert seen == sorted(made_ids, reverse=True)
        cancelled, _ = jobs.list_page(c, status=JobState.CANCELLED)
        assert [job.id for job in cancelled] == [made_ids[0]]
        assert jobs.count_by_status(c)["queued"] == 4


def test_the_oldest_queued_job_gives_its_age(database: Database) -> None:
    with database.write() as c:
        assert jobs.oldest_queued_seconds(c) == 0
        add_job(c)
    with database.read() as c:
        assert 0 <= jobs.oldest_queued_seconds(c) < 60


def test_an_upload_cannot_be_deleted_while_an_unfinished_job_uses_it(database: Database) -> None:
    with database.write() as c:
        model_id = add_model(c)
        job = add_job(c, model_id=model_id)
        refused = uploads.delete(c, "model", model_id)
        assert refused is not None
        assert refused.used_by == job.id
        jobs.request_cancel(c, job.id)
        deleted = uploads.delete(c, "model", model_id)
        assert deleted is not None
        assert deleted.used_by is None
        assert jobs.get(c, job.id) is not None
