"""Uploads over HTTP. Models and datasets share the code; what differs is tested for both."""

import base64
import http.client
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.parse import urlsplit

import httpx
import pytest

from service.errors import (
    DatasetNotFound,
    DigestMismatch,
    EmptyUpload,
    InsufficientStorage,
    InvalidHeader,
    InvalidRequest,
    MalformedMultipart,
    ModelNotFound,
    UnsupportedMediaType,
    UploadInUse,
    UploadTooLarge,
)
from service.settings import Settings
from service.store import uploads
from tests.service.examples import ERROR, MODEL_PROFILE, add_job, add_model
from tests.service.live import Api, assert_problem, serve

RAW = {"Content-Type": "application/octet-stream"}
KINDS = pytest.mark.parametrize("kind", ["model", "dataset"])


def send(api: Api, content: bytes, kind: str = "model", query: str = "", **headers: str) -> httpx.Response:
    return api.http.post(f"/v1/{kind}s{query}", content=content, headers=RAW | headers)


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(sha256(content).digest()).decode()}:"


def stored(api: Api) -> list[bytes]:
    return [path.read_bytes() for path in (api.blobs.root / "blobs").rglob("*") if path.is_file()]


def staged(api: Api) -> list[str]:
    return os.listdir(api.blobs.root / "staging")


@KINDS
def test_a_raw_body_becomes_an_upload(api: Api, kind: str) -> None:
    content = os.urandom(3_000_000)
    answer = send(api, content, kind, "?name=first%20one")
    upload = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/{kind}s/{upload['id']}"
    assert "repr-digest" not in answer.headers, "it would be the digest of the answer, not of the file"
    assert upload | {"id": "", "created_at": ""} == {
        "id": "", "object": kind, "name": "first one", "sha256": sha256(content).hexdigest(),
        "size_bytes": 3_000_000, "status": "inspecting", "error": None, "profile": None, "created_at": "",
    }  # fmt: skip
    assert stored(api) == [content]
    assert api.http.get(answer.headers["location"]).json() == upload
    head = api.http.head(answer.headers["location"])
    assert (head.status_code, head.content) == (200, b"")


@KINDS
def test_a_multipart_body_becomes_the_same_upload(api: Api, kind: str) -> None:
    content = os.urandom(2_500_000)
    answer = api.http.post(f"/v1/{kind}s", files={"file": ("C:\\nets\\résumé.pt2", content)})
    assert answer.status_code == 201
    assert answer.json()["name"] == "résumé.pt2"
    assert stored(api) == [content]
    raw = send(api, content, kind)
    assert (raw.status_code, raw.json()["id"]) == (200, answer.json()["id"])


def test_a_body_without_content_type_is_taken_as_raw(api: Api) -> None:
    assert api.http.post("/v1/models", content=b"x").status_code == 201


def test_a_body_of_unknown_length_is_streamed(api: Api) -> None:
    answer = api.http.post("/v1/models", content=(b"part" for _ in range(1000)), headers=RAW)
    assert answer.status_code == 201
    assert stored(api) == [b"part" * 1000]


def test_an_upload_without_a_name_is_called_by_its_digest(api: Api) -> None:
    assert send(api, b"anonymous").json()["name"] == sha256(b"anonymous").hexdigest()[:12]


def test_the_same_bytes_again_answer_with_the_upload_that_is_there(api: Api) -> None:
    first, second = send(api, b"same", query="?name=one"), send(api, b"same", query="?name=two")
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()


def test_the_same_bytes_at_once_are_stored_once(api: Api) -> None:
    content = os.urandom(500_000)

    def upload(_: int) -> httpx.Response:
        return httpx.post(f"{api.url}/v1/models", content=content, headers=RAW, timeout=30)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(upload, range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert stored(api) == [content]
    assert staged(api) == []


def test_a_promised_digest_is_verified(api: Api) -> None:
    assert send(api, b"right", **{"Repr-Digest": digest(b"right")}).status_code == 201
    assert_problem(send(api, b"wrong", **{"Repr-Digest": digest(b"right")}), DigestMismatch)
    assert stored(api) == [b"right"]
    assert staged(api) == []


@pytest.mark.parametrize("value", ["sha-256=:AAAA:", "sha-256=abc", "sha-256=:!!:", "sha-256="])
def test_a_malformed_digest_is_refused(api: Api, value: str) -> None:
    assert_problem(send(api, b"x", **{"Repr-Digest": value}), InvalidHeader)


def test_a_digest_of_another_kind_is_passed_over(api: Api) -> None:
    assert send(api, b"x", **{"Repr-Digest": "sha-512=:AAAA:"}).status_code == 201


def test_a_promised_digest_is_that_of_the_file_in_a_multipart_body_too(api: Api) -> None:
    headers = {"Repr-Digest": digest(b"right")}
    assert_problem(api.http.post("/v1/models", files={"file": b"wrong"}, headers=headers), DigestMismatch)
    assert api.http.post("/v1/models", files={"file": b"right"}, headers=headers).status_code == 201


def test_a_length_above_the_limit_is_refused_before_a_byte_is_sent(api: Api) -> None:
    """As curl does it: with `Expect: 100-continue` the body is sent only when the server asks for it."""
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=10)
    connection.putrequest("POST", "/v1/models")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(api.settings.limits.upload_bytes + 1))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.getheader("content-type") == "application/problem+json"
    connection.close()


def test_a_body_that_grows_above_the_limit_is_cut_off(api: Api) -> None:
    limit = api.settings.limits.upload_bytes
    answer = api.http.post("/v1/models", content=(bytes(65_536) for _ in range(limit // 65_536 + 2)), headers=RAW)
    assert_problem(answer, UploadTooLarge)
    assert (stored(api), staged(api)) == ([], [])


def test_a_body_of_exactly_the_limit_is_accepted(api: Api) -> None:
    assert send(api, bytes(api.settings.limits.upload_bytes)).status_code == 201
    assert_problem(send(api, bytes(api.settings.limits.upload_bytes + 1)), UploadTooLarge)


def test_the_limit_counts_the_file_not_the_multipart_around_it(api: Api) -> None:
    limit = api.settings.limits.upload_bytes
    assert api.http.post("/v1/models", files={"file": bytes(limit)}).status_code == 201
    assert_problem(api.http.post("/v1/models", files={"file": bytes(limit + 1)}), UploadTooLarge)


def test_a_disk_without_room_is_507(settings: Settings) -> None:
    limits = settings.limits.model_copy(update={"free_disk_bytes": 2**60})
    with serve(settings.model_copy(update={"limits": limits})) as url:
        assert_problem(httpx.post(f"{url}/v1/models", content=b"x", headers=RAW), InsufficientStorage)


def test_an_interrupted_upload_leaves_nothing(api: Api) -> None:
    connection = http.client.HTTPConnection(urlsplit(api.url).netloc, timeout=10)
    connection.putrequest("POST", "/v1/models")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", "2000000")
    connection.endheaders()
    connection.send(bytes(1_500_000))
    connection.close()
    seen = False
    for _ in range(300):  # the server may not have begun to read yet, and then it has to notice the end
        there = bool(staged(api))
        if seen and not there:
            break
        seen = seen or there
        time.sleep(0.02)
    assert (stored(api), staged(api)) == ([], [])
    assert api.http.get("/v1/models").json()["data"] == []


def test_an_empty_body_is_refused(api: Api) -> None:
    assert_problem(send(api, b""), EmptyUpload)
    assert_problem(api.http.post("/v1/models", files={"file": b""}), EmptyUpload)


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "application/json"},
     RAW | {"Content-Encoding": "gzip"}],
)  # fmt: skip
def test_other_media_types_are_refused_with_the_way_out(api: Api, headers: dict[str, str]) -> None:
    assert_problem(api.http.post("/v1/models", content=b"x", headers=headers), UnsupportedMediaType)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b\r\n",
        b"no boundary at all",
        b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\ncut off',
        b'--b\r\ncontent-disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        b"--b\r\n\r\nx\r\n--b--\r\n",
        b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nx\r\n'
        b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\ny\r\n--b--\r\n',
    ],
)
def test_a_multipart_body_must_be_one_file_and_whole(api: Api, body: bytes) -> None:
    answer = api.http.post("/v1/models", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert_problem(answer, MalformedMultipart)
    assert (stored(api), staged(api)) == ([], [])


def test_a_multipart_body_needs_a_boundary(api: Api) -> None:
    answer = api.http.post("/v1/models", content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert_problem(answer, MalformedMultipart)


@pytest.mark.parametrize("name", ["", "a" * 201, "new%0Aline", "%00"])
def test_a_bad_name_is_refused(api: Api, name: str) -> None:
    assert_problem(send(api, b"x", query=f"?name={name}"), InvalidRequest, "name")


@KINDS
def test_an_unknown_id_is_not_found(api: Api, kind: str) -> None:
    path = f"/v1/{kind}s/{'mdl' if kind == 'model' else 'dts'}_{'0' * 26}"
    error = ModelNotFound if kind == "model" else DatasetNotFound
    assert_problem(api.http.get(path), error)
    assert_problem(api.http.delete(path), error)
    assert api.http.head(path).status_code == 404


def test_a_ready_model_shows_its_profile_and_a_rejected_one_its_error(api: Api) -> None:
    ready, rejected = send(api, b"good").json()["id"], send(api, b"bad").json()["id"]
    with api.database.write() as c:
        for upload_id in (ready, rejected):
            assert uploads.claim_inspection(c, upload_id, "worker", 30) is not None
        uploads.finish_inspection(c, ready, 1, MODEL_PROFILE)
        uploads.reject(c, rejected, 1, ERROR)
    shown = api.http.get(f"/v1/models/{ready}").json()
    assert (shown["status"], shown["profile"]["macs"]) == ("ready", MODEL_PROFILE.macs)
    shown = api.http.get(f"/v1/models/{rejected}").json()
    assert (shown["status"], shown["error"]["code"]) == ("rejected", ERROR.code)


def test_a_deleted_upload_and_its_bytes_are_gone(api: Api) -> None:
    location = send(api, b"short lived").headers["location"]
    assert api.http.delete(location).status_code == 204
    assert_problem(api.http.get(location), ModelNotFound)
    assert stored(api) == []
    assert send(api, b"short lived").status_code == 201


def test_bytes_stay_while_another_upload_has_them(api: Api) -> None:
    model = send(api, b"shared").headers["location"]
    send(api, b"shared", "dataset")
    api.http.delete(model)
    assert stored(api) == [b"shared"]


def test_an_upload_in_use_cannot_be_deleted(api: Api) -> None:
    with api.database.write() as c:
        model_id = add_model(c)
        job = add_job(c, model_id=model_id)
    assert job.id in assert_problem(api.http.delete(f"/v1/models/{model_id}"), UploadInUse)["detail"]


def test_lists_are_read_page_by_page(api: Api) -> None:
    with api.database.write() as c:
        ids = [add_model(c) for _ in range(5)]
    seen: list[str] = []
    query = "limit=2"
    while True:
        page = api.http.get(f"/v1/models?{query}").json()
        assert page["object"] == "list"
        seen += [model["id"] for model in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&after={page['next_cursor']}"
    assert seen == sorted(ids, reverse=True)


def test_too_long_pages_are_shortened(api: Api) -> None:
    with api.database.write() as c:
        for _ in range(101):
            add_model(c)
    assert len(api.http.get("/v1/models?limit=100000").json()["data"]) == 100
