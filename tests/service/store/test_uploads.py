"""Uploads in SQLite and PostgreSQL: digests, inspections and deletion."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import IntegrityError

from service.contract.resources import UploadState
from service.store import uploads, workers
from service.store.database import Database
from tests.service.examples import ERROR, MODEL_PROFILE, add_dataset, add_model

LEASE = 30.0
EXPIRED = -1.0
DIGEST = "ab" * 32


def add(database: Database, kind: uploads.Kind = "model", name: str = "first", attempts: int = 3) -> uploads.Added:
    with database.write() as c:
        uploads.lock_digest(c, DIGEST)
        return uploads.add(c, kind=kind, name=name, sha256=DIGEST, size_bytes=7, max_attempts=attempts)


def test_the_same_bytes_are_the_same_upload_and_keep_its_name(database: Database) -> None:
    first, second = add(database), add(database, name="second")
    assert (first.created, first.inspect) == (True, True)
    assert (second.created, second.inspect) == (False, False)
    assert second.upload == first.upload
    assert second.upload.name == "first"


def test_the_same_bytes_as_model_and_as_dataset_are_two_uploads(database: Database) -> None:
    assert add(database, "model").upload.id != add(database, "dataset").upload.id


def test_uploads_of_the_same_bytes_at_once_make_one_row(database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        added = list(pool.map(lambda _: add(database), range(6)))
    assert sum(a.created for a in added) == 1
    assert len({a.upload.id for a in added}) == 1


def test_two_live_rows_of_one_digest_are_impossible(database: Database) -> None:
    from sqlalchemy import text

    add(database)
    copy = "INSERT INTO uploads (id, kind, name, sha256, size_bytes, status, attempt, max_attempts, created_at) "
    with database.write() as c, pytest.raises(IntegrityError):
        c.execute(text(copy + "SELECT 'other', kind, name, sha256, size_bytes, status, 0, 3, 0 FROM uploads"))


def test_an_inspection_makes_the_upload_ready(database: Database) -> None:
    upload_id = add(database).upload.id
    with database.write() as c:
        claim = uploads.claim_inspection(c, upload_id, "worker", LEASE)
        assert claim == uploads.InspectionClaim(upload_id, "model", "first", DIGEST, 1)
        assert uploads.claim_inspection(c, upload_id, "other", LEASE) is None
        assert uploads.heartbeat_inspection(c, upload_id, 1, LEASE).alive
        assert uploads.finish_inspection(c, upload_id, 1, MODEL_PROFILE)
        upload = uploads.get(c, "model", upload_id)
        assert upload is not None
        assert (upload.status, upload.profile) == (UploadState.READY, MODEL_PROFILE)
        assert uploads.claim_inspection(c, upload_id, "late", LEASE) is None


def test_a_rejected_upload_says_why_and_is_inspected_again_when_sent_again(database: Database) -> None:
    upload_id = add(database, attempts=1).upload.id
    with database.write() as c:
        assert uploads.claim_inspection(c, upload_id, "worker", LEASE) is not None
        assert uploads.reject(c, upload_id, 1, ERROR)
        upload = uploads.get(c, "model", upload_id)
        assert upload is not None
        assert (upload.status, upload.error) == (UploadState.REJECTED, ERROR)
    again = add(database, attempts=1)
    assert (again.created, again.inspect, again.upload.id) == (False, True, upload_id)
    assert (again.upload.status, again.upload.error) == (UploadState.INSPECTING, None)
    with database.write() as c:
        claim = uploads.claim_inspection(c, upload_id, "worker", LEASE)
        assert claim is not None
        assert claim.attempt == 2


def test_an_inspection_that_was_taken_over_changes_nothing(database: Database) -> None:
    upload_id = add(database).upload.id
    with database.write() as c:
        uploads.claim_inspection(c, upload_id, "zombie", EXPIRED)
        assert uploads.claim_inspection(c, upload_id, "second", LEASE) is not None
        assert not uploads.heartbeat_inspection(c, upload_id, 1, LEASE).alive
        assert not uploads.finish_inspection(c, upload_id, 1, MODEL_PROFILE)
        assert not uploads.reject(c, upload_id, 1, ERROR)
        assert not uploads.hand_back_inspection(c, upload_id, 1)


def test_an_inspection_of_a_deleted_upload_stops(database: Database) -> None:
    upload_id = add(database).upload.id
    with database.write() as c:
        uploads.claim_inspection(c, upload_id, "worker", LEASE)
        uploads.delete(c, "model", upload_id)
        assert not uploads.heartbeat_inspection(c, upload_id, 1, LEASE).alive
        assert not uploads.finish_inspection(c, upload_id, 1, MODEL_PROFILE)


def test_handing_an_inspection_back_does_not_use_up_an_attempt(database: Database) -> None:
    upload_id = add(database, attempts=1).upload.id
    with database.write() as c:
        uploads.claim_inspection(c, upload_id, "worker", LEASE)
        assert uploads.hand_back_inspection(c, upload_id, 1)
        assert uploads.unrung_inspections(c, older_than_seconds=60) == [upload_id]
        assert uploads.claim_inspection(c, upload_id, "worker", LEASE) is not None


def test_a_dead_inspection_waits_again_and_in_the_end_is_rejected(database: Database) -> None:
    upload_id = add(database, attempts=2).upload.id
    with database.write() as c:
        uploads.claim_inspection(c, upload_id, "worker", EXPIRED)
        assert uploads.recover_expired_inspections(c) == uploads.RecoveredInspections([upload_id], [])
        assert uploads.count_inspecting(c) == 1
        uploads.claim_inspection(c, upload_id, "worker", EXPIRED)
        assert uploads.recover_expired_inspections(c) == uploads.RecoveredInspections([], [upload_id])
        upload = uploads.get(c, "model", upload_id)
        assert upload is not None
        assert upload.error is not None
        assert (upload.status, upload.error.code) == (UploadState.REJECTED, "worker-lost")


def test_an_inspection_is_rung_again_only_when_its_message_is_old(database: Database) -> None:
    upload_id = add(database).upload.id
    with database.write() as c:
        assert uploads.unrung_inspections(c, older_than_seconds=60) == [upload_id]
        uploads.mark_inspections_enqueued(c, [upload_id])
        assert uploads.unrung_inspections(c, older_than_seconds=60) == []
        assert uploads.unrung_inspections(c, older_than_seconds=-1) == [upload_id]
        uploads.claim_inspection(c, upload_id, "worker", LEASE)
        assert uploads.unrung_inspections(c, older_than_seconds=-1) == []


def test_a_deleted_upload_is_gone_and_its_bytes_are_orphans(database: Database) -> None:
    model, dataset = add(database, "model").upload.id, add(database, "dataset").upload.id
    with database.write() as c:
        first = uploads.delete(c, "model", model)
        assert first is not None
        assert first.orphan is None, "the dataset has the same bytes"
        second = uploads.delete(c, "dataset", dataset)
        assert second is not None
        assert second.orphan == DIGEST
        assert uploads.delete(c, "dataset", dataset) is None
        assert uploads.get(c, "model", model) is None
        assert uploads.list_page(c, "model") == ([], None)
        assert not uploads.hold(c, "model", model)
    assert add(database, "model").created, "after deletion the digest is free again"


def test_only_ready_uploads_of_the_right_kind_can_be_held(database: Database) -> None:
    with database.write() as c:
        model, dataset, raw = add_model(c), add_dataset(c), add_model(c, ready=False)
        assert uploads.hold(c, "model", model)
        assert uploads.hold(c, "dataset", dataset)
        assert not uploads.hold(c, "model", raw)
        assert not uploads.hold(c, "model", dataset)


def test_pages_go_from_new_to_old_and_end(database: Database) -> None:
    with database.write() as c:
        ids = [add_model(c) for _ in range(3)]
        add_dataset(c)
        first, after = uploads.list_page(c, "model", limit=2)
        rest, end = uploads.list_page(c, "model", after, limit=2)
        counted = uploads.count_live(c)
    assert [upload.id for upload in [*first, *rest]] == sorted(ids, reverse=True)
    assert end is None
    assert counted == {("model", "ready"): (3, 3), ("dataset", "ready"): (1, 1)}


def test_workers_are_seen_while_they_beat_and_until_they_say_goodbye(database: Database) -> None:
    with database.write() as c:
        workers.beat(c, "a")
        workers.beat(c, "b")
        workers.beat(c, "a")
        assert workers.seen_within(c, 30) == 2
        assert workers.seen_within(c, -1) == 0
        workers.forget(c, "a")
        assert workers.seen_within(c, 30) == 1
