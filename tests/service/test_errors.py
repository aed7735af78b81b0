"""Every error is a problem, of one form, with a type that can be looked up."""

import json

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.errors import (
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    ProblemError,
    ProblemTypeNotFound,
    UnknownModel,
    UnsupportedMediaType,
    problem_types,
)
from service.failures import FAILURES
from service.settings import Settings
from tests.service.live import Api, assert_problem, serve
from worker.errors import JobFailed

MODEL = "mdl_" + "0" * 26


def post(api: Api, body: object, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.http.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"} | headers)


def request(**recipe: object) -> dict[str, object]:
    return {"model": MODEL, "recipe": {"target": {"macs": 0.5}} | recipe}


def test_an_unknown_path_is_a_problem(api: Api) -> None:
    assert_problem(api.http.get("/v1/pumpkins"), NotFound)


def test_an_id_that_is_none_is_not_found_and_says_what_ids_look_like(api: Api) -> None:
    detail = assert_problem(api.http.get("/v1/jobs/4711"), NotFound)["detail"]
    assert "job_ and 26 letters and digits" in detail
    assert "'4711'" in detail


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/jobs", "GET, POST"), (f"/v1/models/{MODEL}", "DELETE, GET, HEAD"), ("/healthz", "GET, HEAD")],
)
def test_a_wrong_method_is_a_problem_that_names_all_right_ones(api: Api, path: str, allowed: str) -> None:
    answer = api.http.put(path)
    assert_problem(answer, MethodNotAllowed)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{'a': 1}", b'{"a": 1,}', b'{"seed": NaN}', b'{"seed": Infinity}', b"[" * 100_00, b'"\\ud800"',
        b"\xff", b"nul",
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_is_refused(api: Api, body: bytes) -> None:
    assert_problem(post(api, body), MalformedJson)


def test_json_sent_as_a_form_is_refused_with_the_way_out(api: Api) -> None:
    answer = post(api, request(), **{"Content-Type": "application/x-www-form-urlencoded"})
    assert "--json" in assert_problem(answer, UnsupportedMediaType)["detail"]


def test_a_json_body_above_the_limit_is_refused(api: Api) -> None:
    limit = api.settings.limits.request_bytes
    assert_problem(post(api, b" " * (limit + 1)), BodyTooLarge)
    answer = api.http.post(
        "/v1/jobs",
        content=(b" " * 1024 for _ in range(limit // 1024 + 2)),
        headers={"Content-Type": "application/json"},
    )
    assert_problem(answer, BodyTooLarge)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], "#"),
        ({"model": MODEL}, "#/recipe"),
        ({"model": "x", "recipe": {"target": {"macs": 0.5}}}, "#/model"),
        (request() | {"pruen": 1}, "#/pruen"),
        (request(target={"macs": 1.5}), "#/recipe/target/macs"),
        (request(target={"macs": "0.5"}), "#/recipe/target/macs"),
        (request(target={"macs": True}), "#/recipe/target/macs"),
        (request(target={"macs": 0.5, "sparsty": 1}), "#/recipe/target/sparsty"),
        (request(target={}), "#/recipe/target"),
        (request(seed=2**70), "#/recipe/seed"),
        (request(seed=1.5), "#/recipe/seed"),
        (request(finetune={"epochs": False}), "#/recipe/finetune/epochs"),
        (request(prune={"layers": {"a/b~c": {"min_keep": 0}}}), "#/recipe/prune/layers/a~1b~0c/min_keep"),
        (request(input={"mean": [0, "1"]}), "#/recipe/input/mean/1"),
    ],
)
def test_a_wrong_field_is_pointed_at(api: Api, body: object, pointer: str) -> None:
    assert_problem(post(api, body), InvalidRequest, pointer)


def test_a_number_too_large_for_a_float_is_a_wrong_field(api: Api) -> None:
    body = json.dumps(request()).replace("0.5", "1e400").encode()
    assert_problem(post(api, body), InvalidRequest, "#/recipe/target/macs")


def test_whole_numbers_may_be_written_with_a_point(api: Api) -> None:
    answer = post(api, request(seed=9.0))
    assert_problem(answer, UnknownModel, "#/model")


def test_all_wrong_fields_are_reported_at_once(api: Api) -> None:
    body = request(target={"macs": 2}, seed=-1) | {"name": ""}
    assert_problem(post(api, body), InvalidRequest, "#/recipe/target/macs", "#/recipe/seed", "#/name")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after=x", "status=done", "limt=1"])
def test_a_wrong_parameter_is_named(api: Api, query: str) -> None:
    assert_problem(api.http.get(f"/v1/jobs?{query}"), InvalidRequest, query.split("=")[0])


def test_a_typo_in_validate_only_does_not_start_a_job(api: Api) -> None:
    answer = api.http.post("/v1/jobs?validate_onyl=true", json=request())
    assert_problem(answer, InvalidRequest, "validate_onyl")


def test_a_defect_is_a_problem_without_a_stack_trace(settings: Settings) -> None:
    app: FastAPI = create_app(settings)

    @app.get("/defect")
    async def defect() -> None:
        raise RuntimeError("a secret")

    with serve(settings, app) as url:
        answer = httpx.get(f"{url}/defect")
    assert_problem(answer, InternalError)
    assert "secret" not in answer.text


@pytest.mark.parametrize("kind", list(problem_types()), ids=lambda kind: kind.slug)
def test_every_problem_type_can_be_looked_up(api: Api, kind: type[ProblemError]) -> None:
    explained = api.http.get(f"/v1/problems/{kind.slug}").json()
    assert (explained["title"], explained["status"]) == (kind.title, kind.status)
    assert explained["explanation"]


def test_every_way_a_job_can_fail_is_explained_under_its_title(api: Api) -> None:
    def leaves(kind: type[JobFailed]) -> list[type[JobFailed]]:
        return [kind, *(leaf for child in kind.__subclasses__() for leaf in leaves(child))]

    known = {failure["code"]: failure["title"] for failure in api.http.get("/v1/problems").json()["data"]}
    assert {kind.code: known.get(kind.code) for kind in leaves(JobFailed)} == {
        kind.code: kind.title for kind in leaves(JobFailed)
    }
    assert {kind.code for kind in leaves(JobFailed)} <= set(FAILURES)


def test_slugs_and_titles_tell_problem_types_apart() -> None:
    kinds = list(problem_types())
    assert len({kind.slug for kind in kinds}) == len(kinds)


def test_an_unknown_problem_type_is_a_problem(api: Api) -> None:
    assert_problem(api.http.get("/v1/problems/tired"), ProblemTypeNotFound)
