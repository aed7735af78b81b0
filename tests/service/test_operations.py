"""Health, readiness, numbers, and the doorbell with a real broker."""

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from service.errors import NotReady
from service.queue import Doorbell, Queue
from service.settings import Settings
from service.store import jobs, uploads, workers
from service.valkey import Valkey
from tests.service.examples import add_job, add_model
from tests.service.live import Api, assert_problem, serve


@pytest.fixture
def broker(settings: Settings) -> Iterator[Valkey]:
    """A real Valkey server where the settings expect it."""
    server = Valkey(settings)
    server.start()
    yield server
    server.stop()


def eventually(fact: Callable[[], bool]) -> bool:
    """Whether something becomes true that happens after an answer; the bound only ends a test that fails."""
    deadline = time.monotonic() + 20
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def numbers(api: Api) -> dict[str, float]:
    lines = [line for line in api.http.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_process_is_alive_without_broker_and_worker(api: Api) -> None:
    assert api.http.get("/healthz").json() == {"status": "ok"}


def test_probes_may_ask_for_the_status_alone(api: Api) -> None:
    for path in ("/healthz", "/readyz"):
        asked = api.http.head(path)
        assert (asked.status_code, asked.content) == (api.http.get(path).status_code, b"")


def test_readiness_names_what_is_missing(api: Api) -> None:
    body = assert_problem(api.http.get("/readyz"), NotReady)
    assert body["checks"]["database"] == "ok"
    assert body["checks"]["storage"] == "ok"
    assert body["checks"]["broker"] == "does not answer"
    assert body["checks"]["worker"].startswith("none")


def test_a_database_that_fails_is_503_and_says_so_when_asked(settings: Settings) -> None:
    (settings.data_dir / "secateur.db").unlink()
    with serve(settings) as url:
        answer = httpx.get(f"{url}/v1/jobs")
        assert_problem(answer, NotReady)
        assert "retry-after" in answer.headers
        assert "migrate" in httpx.get(f"{url}/readyz").json()["checks"]["database"]
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_the_service_is_ready_with_broker_and_worker(broker: Valkey, api: Api) -> None:
    with api.database.write() as c:
        workers.beat(c, "worker")
    answer = api.http.get("/readyz")
    assert (answer.status_code, set(answer.json()["checks"].values())) == (200, {"ok"})


def test_an_accepted_job_rings_and_notes_it(broker: Valkey, api: Api) -> None:
    with api.database.write() as c:
        model_id = add_model(c)
    assert api.http.post("/v1/jobs", json={"model": model_id, "recipe": {"target": {"macs": 0.5}}}).status_code == 202

    def rung() -> bool:
        with api.database.read() as c:
            return jobs.unrung(c, older_than_seconds=60) == []

    assert eventually(rung)
    assert Doorbell(api.settings).depth(Queue.JOBS) == 1


def test_a_new_upload_rings_and_a_known_one_does_not(broker: Valkey, api: Api) -> None:
    headers = {"Content-Type": "application/octet-stream"}
    assert api.http.post("/v1/models", content=b"x", headers=headers).status_code == 201

    def rung() -> bool:
        with api.database.read() as c:
            return uploads.unrung_inspections(c, older_than_seconds=60) == []

    assert eventually(rung)
    assert api.http.post("/v1/models", content=b"x", headers=headers).status_code == 200
    assert Doorbell(api.settings).depth(Queue.INSPECTIONS) == 1


def test_a_job_is_accepted_without_a_broker_and_left_to_the_reconciler(api: Api) -> None:
    with api.database.write() as c:
        model_id = add_model(c)
    answer = api.http.post("/v1/jobs", json={"model": model_id, "recipe": {"target": {"macs": 0.5}}})
    assert answer.status_code == 202
    with api.database.read() as c:
        assert jobs.unrung(c, older_than_seconds=60) == [answer.json()["id"]]


def test_requests_are_counted_by_route_not_by_id(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    for _ in range(3):
        api.http.get(f"/v1/jobs/{job_id}")
    api.http.get("/v1/nowhere")
    found = numbers(api)
    assert found['secateur_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"}'] == 3
    assert found['secateur_http_requests_total{method="GET",route="(none)",status="404"}'] == 1
    assert not [name for name in found if job_id in name]


def test_the_state_of_the_service_is_in_the_numbers(api: Api) -> None:
    with api.database.write() as c:
        add_job(c)
        jobs.request_cancel(c, add_job(c).id)
        workers.beat(c, "worker")
    api.http.post("/v1/models", content=b"12345", headers={"Content-Type": "application/octet-stream"})
    found = numbers(api)
    assert found['secateur_jobs{status="queued"}'] == 1
    assert found['secateur_jobs{status="cancelled"}'] == 1
    assert found['secateur_jobs{status="failed"}'] == 0
    assert found["secateur_jobs_oldest_queued_seconds"] >= 0
    assert found["secateur_workers"] == 1
    assert found['secateur_uploads{kind="model",status="inspecting"}'] == 1
    assert found['secateur_upload_bytes_total{kind="model"}'] == 5


def test_methods_tell_what_a_recipe_may_ask_for(api: Api) -> None:
    catalogue = api.http.get("/v1/methods").json()
    assert {criterion["name"] for criterion in catalogue["criteria"]} >= {"magnitude", "taylor"}
    assert "target" in catalogue["recipe_schema"]["properties"]
