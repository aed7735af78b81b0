"""The API on PostgreSQL: what goes through threads, locks and advisory locks there, and through the loop on SQLite."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.settings import Settings
from service.store import jobs
from service.store.blobs import Blobs
from service.store.database import Database
from service.store.migrate import migrate
from tests.service.examples import add_model
from tests.service.live import Api, serve

RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def postgresql_api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    settings = Settings.model_validate(
        {"data_dir": tmp_path, "database_url": database_url, "redis_url": None, "limits": {"free_disk_bytes": 0}}
    )
    migrate(settings)
    database = Database(settings.sqlalchemy_url)
    with serve(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Api(client, url, settings, database, Blobs(tmp_path))
    database.close()


pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def test_the_same_bytes_at_once_are_stored_once(postgresql_api: Api) -> None:
    api = postgresql_api

    def upload(_: int) -> httpx.Response:
        return httpx.post(f"{api.url}/v1/models", content=b"same" * 1000, headers=RAW, timeout=60)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(upload, range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_uploads_and_deletions_at_once_leave_no_row_without_bytes(postgresql_api: Api) -> None:
    api = postgresql_api

    def upload_and_delete(_: int) -> None:
        for _ in range(5):
            answer = httpx.post(f"{api.url}/v1/models", content=b"contested", headers=RAW, timeout=60)
            httpx.delete(f"{api.url}{answer.headers['location']}", timeout=60)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upload_and_delete, range(4)))
    last = api.http.post("/v1/models", content=b"contested", headers=RAW).json()
    assert api.blobs.path(last["sha256"]).read_bytes() == b"contested"


def test_one_key_sent_many_times_at_once_makes_one_job(postgresql_api: Api) -> None:
    api = postgresql_api
    with api.database.write() as c:
        model_id = add_model(c)
    body = {"model": model_id, "recipe": {"target": {"macs": 0.5}}, "metadata": {"nul": "\u0000"}}

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{api.url}/v1/jobs", json=body, headers={"Idempotency-Key": "k"}, timeout=60)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(post, range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_job_is_followed_to_its_end(postgresql_api: Api) -> None:
    api = postgresql_api
    job_id = api.finished_job({"model.onnx": (b"0123456789", "application/octet-stream")})
    shown = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=10"}).json()
    assert (shown["status"], shown["done"]) == ("succeeded", True)
    stream = api.http.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "text/event-stream"})
    assert "event: done" in stream.text
    part = api.http.get(f"/v1/jobs/{job_id}/artifacts/model.onnx", headers={"Range": "bytes=2-3"})
    assert (part.status_code, part.content) == (206, b"23")
    assert [job["id"] for job in api.http.get("/v1/jobs").json()["data"]] == [job_id]
    assert 'secateur_jobs{status="succeeded"} 1.0' in api.http.get("/metrics").text
    with api.database.read() as c:
        assert jobs.count_queued(c) == 0
