"""Jobs over HTTP: submit, follow, cancel."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.errors import (
    DatasetNotReady,
    DatasetRejected,
    IdempotencyKeyReused,
    InvalidRequest,
    JobNotFound,
    ModelNotReady,
    ModelRejected,
    RecipeInvalid,
    TargetUnreachable,
    UnknownDataset,
    UnknownModel,
)
from service.store import jobs, uploads
from tests.service.examples import ERROR, add_dataset, add_job, add_model
from tests.service.live import Api, assert_problem

NOBODY = "0" * 26


@pytest.fixture
def model_id(api: Api) -> str:
    with api.database.write() as c:
        return add_model(c)


def submit(
    api: Api, model_id: str, query: str = "", headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    body = {"model": model_id, "recipe": {"target": {"macs": 0.5}}} | more
    return api.http.post(f"/v1/jobs{query}", json=body, headers=headers)


def later(action: Callable[[], object], seconds: float = 0.3) -> Future[object]:
    """Something that happens while a request waits."""
    pool = ThreadPoolExecutor(1)

    def act() -> object:
        time.sleep(seconds)
        return action()

    future = pool.submit(act)
    pool.shutdown(wait=False)
    return future


def test_a_job_is_accepted_and_shown_where_location_says(api: Api, model_id: str) -> None:
    answer = submit(api, model_id, name="nightly", metadata={"commit": "abc"})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job["status"], job["done"], job["model"], job["dataset"]) == ("queued", False, model_id, None)
    assert (job["name"], job["metadata"]) == ("nightly", {"commit": "abc"})
    assert api.http.get(answer.headers["location"]).json() == job


def test_the_answer_shows_the_resolved_recipe_and_submitting_it_resolves_to_itself(api: Api, model_id: str) -> None:
    recipe = submit(api, model_id).json()["recipe"]
    assert recipe["prune"]["criterion"] == "magnitude", "without data"
    assert recipe["finetune"]["epochs"] == 0
    assert submit(api, model_id, recipe=recipe).json()["recipe"] == recipe


def test_a_job_with_a_dataset_names_it(api: Api, model_id: str) -> None:
    with api.database.write() as c:
        dataset_id = add_dataset(c)
    answer = submit(api, model_id, dataset=dataset_id)
    assert answer.status_code == 202, answer.text
    assert answer.json()["dataset"] == dataset_id


def test_validate_only_answers_with_the_plan_and_stores_nothing(api: Api, model_id: str) -> None:
    answer = submit(api, model_id, "?validate_only=true")
    plan = answer.json()
    assert (answer.status_code, plan["object"]) == (200, "plan")
    assert plan["dense"]["macs"] == 50_000
    assert plan["recipe"]["prune"]["criterion"] == "magnitude"
    assert api.http.get("/v1/jobs").json()["data"] == []


def test_an_unknown_model_or_dataset_is_pointed_at(api: Api, model_id: str) -> None:
    assert_problem(submit(api, f"mdl_{NOBODY}"), UnknownModel, "#/model")
    assert_problem(submit(api, model_id, dataset=f"dts_{NOBODY}"), UnknownDataset, "#/dataset")


def test_what_is_still_inspected_can_be_tried_again(api: Api, model_id: str) -> None:
    with api.database.write() as c:
        raw_model, raw_dataset = add_model(c, ready=False), add_dataset(c, ready=False)
    answer = submit(api, raw_model)
    assert_problem(answer, ModelNotReady, "#/model")
    assert int(answer.headers["retry-after"]) > 0
    assert_problem(submit(api, model_id, dataset=raw_dataset), DatasetNotReady, "#/dataset")


def test_what_was_rejected_is_refused_with_its_reason(api: Api, model_id: str) -> None:
    with api.database.write() as c:
        model, dataset = add_model(c, ready=False), add_dataset(c, ready=False)
        for upload_id in (model, dataset):
            uploads.claim_inspection(c, upload_id, "worker", 30)
            uploads.reject(c, upload_id, 1, ERROR)
    assert ERROR.detail in assert_problem(submit(api, model), ModelRejected, "#/model")["detail"]
    assert_problem(submit(api, model_id, dataset=dataset), DatasetRejected, "#/dataset")


@pytest.mark.parametrize("query", ["", "?validate_only=true"])
def test_a_recipe_that_cannot_work_is_refused_before_queueing(api: Api, model_id: str, query: str) -> None:
    answer = submit(api, model_id, query, recipe={"target": {"macs": 0.01}})
    assert_problem(answer, TargetUnreachable, "#/recipe/target/macs")
    answer = submit(api, model_id, query, recipe={"target": {"macs": 0.5}, "prune": {"criterion": "taylor"}})
    assert_problem(answer, RecipeInvalid, "#/recipe/prune/criterion")
    assert api.http.get("/v1/jobs").json()["data"] == []


def test_an_idempotency_key_makes_one_job(api: Api, model_id: str) -> None:
    first = submit(api, model_id, headers={"Idempotency-Key": "ci-1"})
    again = submit(api, model_id, headers={"Idempotency-Key": "ci-1"})
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert len(api.http.get("/v1/jobs").json()["data"]) == 1


def test_an_idempotency_key_does_not_depend_on_how_json_is_written(api: Api, model_id: str) -> None:
    headers = {"Idempotency-Key": "ci-1", "Content-Type": "application/json"}
    bodies = [
        f'{{"model": "{model_id}", "recipe": {{"target": {{"macs": 0.5}}, "seed": 1}}}}',
        f'{{"recipe":{{"seed":1.0,"target":{{"macs":5e-1}}}},"model":"{model_id}"}}',
    ]
    ids = {api.http.post("/v1/jobs", content=body, headers=headers).json()["id"] for body in bodies}
    assert len(ids) == 1


def test_an_idempotency_key_for_another_request_is_refused(api: Api, model_id: str) -> None:
    submit(api, model_id, headers={"Idempotency-Key": "ci-1"})
    answer = submit(api, model_id, name="other", headers={"Idempotency-Key": "ci-1"})
    assert_problem(answer, IdempotencyKeyReused)


def test_an_idempotency_key_is_answered_even_when_the_model_is_gone(api: Api, model_id: str) -> None:
    first = submit(api, model_id, headers={"Idempotency-Key": "ci-1"})
    api.http.post(f"{first.headers['location']}/cancel")
    assert api.http.delete(f"/v1/models/{model_id}").status_code == 204
    assert submit(api, model_id, headers={"Idempotency-Key": "ci-1"}).json() == first.json()
    assert_problem(submit(api, model_id), UnknownModel, "#/model")


def test_a_refused_request_does_not_use_up_its_key(api: Api) -> None:
    with api.database.write() as c:
        model_id = add_model(c, ready=False)
    assert_problem(submit(api, model_id, headers={"Idempotency-Key": "k"}), ModelNotReady, "#/model")
    with api.database.write() as c:
        ready = add_model(c)
    assert submit(api, ready, headers={"Idempotency-Key": "k"}).status_code == 202


def test_one_key_sent_many_times_at_once_makes_one_job(api: Api, model_id: str) -> None:
    body = {"model": model_id, "recipe": {"target": {"macs": 0.5}}}

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{api.url}/v1/jobs", json=body, headers={"Idempotency-Key": "k"}, timeout=30)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(post, range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_jobs_are_listed_by_state(api: Api) -> None:
    with api.database.write() as c:
        queued, cancelled = add_job(c).id, add_job(c).id
        jobs.request_cancel(c, cancelled)
    assert [job["id"] for job in api.http.get("/v1/jobs").json()["data"]] == [cancelled, queued]
    assert [job["id"] for job in api.http.get("/v1/jobs?status=cancelled").json()["data"]] == [cancelled]
    page = api.http.get("/v1/jobs?limit=1").json()
    assert [job["id"] for job in api.http.get(f"/v1/jobs?after={page['next_cursor']}").json()["data"]] == [queued]


def test_a_cursor_of_another_list_is_refused(api: Api, model_id: str) -> None:
    assert_problem(api.http.get(f"/v1/jobs?after={model_id}"), InvalidRequest, "after")


def test_an_unchanged_job_is_not_sent_again(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    first = api.http.get(f"/v1/jobs/{job_id}")
    same = api.http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": first.headers["etag"]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    changed = api.http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": f'"v99", W/{first.headers["etag"]}'})
    assert changed.status_code == 200
    assert "retry-after" in first.headers
    assert "retry-after" not in changed.headers


def test_a_failed_job_is_no_failed_request(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
        jobs.claim(c, job_id, "worker", 30)
        jobs.finish_failed(c, job_id, 1, ERROR)
    answer = api.http.get(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["status"], answer.json()["done"]) == (200, "failed", True)
    assert answer.json()["error"]["code"] == ERROR.code


def test_waiting_ends_with_the_job(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id

    def end() -> None:
        with api.database.write() as c:
            jobs.request_cancel(c, job_id)

    ended = later(end)
    answer = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "respond-async, wait=30"})
    ended.result()
    assert answer.json()["status"] == "cancelled"
    assert answer.headers["preference-applied"] == "wait=30"


def test_waiting_with_an_etag_ends_with_any_change(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    etag = api.http.get(f"/v1/jobs/{job_id}").headers["etag"]

    def claim() -> None:
        with api.database.write() as c:
            jobs.claim(c, job_id, "worker", 30)

    claimed = later(claim)
    answer = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30", "If-None-Match": etag})
    claimed.result()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")


def test_waiting_in_vain_ends_with_the_state_as_it_is(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    answer = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    etag = answer.headers["etag"]
    answer = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=1", "If-None-Match": etag})
    assert answer.status_code == 304


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "wait=", "return=minimal", "wait=0"])
def test_a_preference_that_is_not_understood_is_ignored(api: Api, prefer: str) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    answer = api.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": prefer})
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers


def test_cancelling_twice_gives_the_same_answer(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    first, second = (api.http.post(f"/v1/jobs/{job_id}/cancel") for _ in range(2))
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert second.json() == first.json()


def test_a_running_job_is_cancelling_at_first(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
        jobs.claim(c, job_id, "worker", 30)
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelling"


@pytest.mark.parametrize("path", ["", "/events", "/report", "/artifacts", "/artifacts/model.onnx"])
def test_nothing_is_found_of_an_unknown_job(api: Api, path: str) -> None:
    assert_problem(api.http.get(f"/v1/jobs/job_{NOBODY}{path}"), JobNotFound)


def test_an_unknown_job_cannot_be_cancelled(api: Api) -> None:
    assert_problem(api.http.post(f"/v1/jobs/job_{NOBODY}/cancel"), JobNotFound)
