"""Downloads: whole, in part, and not at all."""

import base64
import os
from hashlib import sha256

import pytest

from service.errors import ArtifactNotFound, NotFound, RangeNotSatisfiable, ReportNotFound, ReportNotReady
from service.store import jobs
from tests.service.examples import ERROR, add_job
from tests.service.live import Api, assert_problem

CONTENT = os.urandom(2_500_000)
SIZE = len(CONTENT)
ETAG = f'"sha256-{sha256(CONTENT).hexdigest()}"'
FILES = {
    "model.onnx": (CONTENT, "application/octet-stream"),
    "report.html": (b"<h1>Report</h1>", "text/html; charset=utf-8"),
    "report.json": (b'{"schema": "secateur-report/1"}', "application/json"),
}


@pytest.fixture
def job_id(api: Api) -> str:
    return api.finished_job(FILES)


@pytest.fixture
def path(job_id: str) -> str:
    return f"/v1/jobs/{job_id}/artifacts/model.onnx"


def test_artifacts_are_listed_with_digests_and_links(api: Api, job_id: str) -> None:
    listed = api.http.get(f"/v1/jobs/{job_id}/artifacts").json()
    assert [artifact["name"] for artifact in listed["data"]] == ["model.onnx", "report.html", "report.json"]
    for artifact in listed["data"]:
        content = api.http.get(artifact["url"]).content
        assert (len(content), sha256(content).hexdigest()) == (artifact["size_bytes"], artifact["sha256"])
    page = api.http.get(f"/v1/jobs/{job_id}/artifacts?limit=2").json()
    rest = api.http.get(f"/v1/jobs/{job_id}/artifacts?after={page['next_cursor']}").json()
    assert [artifact["name"] for artifact in rest["data"]] == ["report.json"]


def test_a_job_that_is_not_done_has_no_files_yet(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    assert api.http.get(f"/v1/jobs/{job_id}/artifacts").json()["data"] == []
    assert_problem(api.http.get(f"/v1/jobs/{job_id}/artifacts/model.onnx"), ArtifactNotFound)


def test_a_download_carries_its_digest_and_may_be_kept(api: Api, path: str) -> None:
    answer = api.http.get(path)
    assert answer.content == CONTENT
    assert answer.headers["etag"] == ETAG
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(sha256(CONTENT).digest()).decode()}:"
    assert answer.headers["content-disposition"] == 'attachment; filename="model.onnx"'
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_head_is_a_download_without_its_body(api: Api, path: str) -> None:
    whole, head = api.http.get(path), api.http.head(path, headers={"Range": "bytes=0-1"})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "etag", "repr-digest", "content-type", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("tags", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_known_file_is_not_sent_again(api: Api, path: str, tags: str) -> None:
    answer = api.http.get(path, headers={"If-None-Match": tags})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", ETAG)


def test_another_version_is_sent_whole(api: Api, path: str) -> None:
    assert api.http.get(path, headers={"If-None-Match": '"sha256-0"'}).content == CONTENT


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-1500000", 100, 1_500_001),
        (f"bytes={SIZE - 5}-", SIZE - 5, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=10-{SIZE * 9}", 10, SIZE),
        ("Bytes = 5 - 9", 5, 10),
    ],
)
def test_a_part_is_sent_as_206(api: Api, path: str, asked: str, start: int, end: int) -> None:
    answer = api.http.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert int(answer.headers["content-length"]) == end - start
    assert answer.content == CONTENT[start:end]


@pytest.mark.parametrize("asked", ["bytes=9-3", "lines=0-1", "bytes=", "bytes=a-b", "bytes=0-1,5-6", "bytes=0-"])
def test_a_range_that_is_malformed_or_manifold_or_everything_gives_the_whole(api: Api, path: str, asked: str) -> None:
    answer = api.http.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=-0"])
def test_a_range_behind_the_end_is_416(api: Api, path: str, asked: str) -> None:
    answer = api.http.get(path, headers={"Range": asked})
    assert_problem(answer, RangeNotSatisfiable)
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


def test_a_resumed_download_gets_the_rest_only_of_the_same_file(api: Api, path: str) -> None:
    rest = {"Range": "bytes=1000-"}
    assert api.http.get(path, headers=rest | {"If-Range": ETAG}).content == CONTENT[1000:]
    assert api.http.get(path, headers=rest | {"If-Range": '"sha256-0"'}).content == CONTENT
    assert api.http.get(path, headers=rest | {"If-Range": f"W/{ETAG}"}).content == CONTENT


def test_a_page_made_from_uploads_runs_no_scripts(api: Api, job_id: str) -> None:
    answer = api.http.get(f"/v1/jobs/{job_id}/artifacts/report.html")
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["content-disposition"].startswith("inline")


@pytest.mark.parametrize("name", ["..%2fsecateur.db", "%2e%2e", ".hidden", "a%00b", "secateur.db%0a"])
def test_no_name_leads_out_of_the_job(api: Api, job_id: str, name: str) -> None:
    assert_problem(api.http.get(f"/v1/jobs/{job_id}/artifacts/{name}"), NotFound)


def test_the_report_is_the_artifact(api: Api, job_id: str) -> None:
    answer = api.http.get(f"/v1/jobs/{job_id}/report")
    assert answer.json() == {"schema": "secateur-report/1"}
    assert answer.headers["content-type"] == "application/json"
    again = api.http.get(f"/v1/jobs/{job_id}/report", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_a_report_is_not_ready_before_the_end_and_never_comes_after_a_failure(api: Api) -> None:
    with api.database.write() as c:
        job_id = add_job(c).id
    answer = api.http.get(f"/v1/jobs/{job_id}/report")
    assert_problem(answer, ReportNotReady)
    assert "retry-after" in answer.headers
    with api.database.write() as c:
        jobs.claim(c, job_id, "worker", 30)
        jobs.finish_failed(c, job_id, 1, ERROR)
    assert_problem(api.http.get(f"/v1/jobs/{job_id}/report"), ReportNotFound)
