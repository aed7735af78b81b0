"""Events over HTTP: pages and streams."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import pytest

from service.errors import InvalidHeader, InvalidRequest
from service.settings import Settings
from service.store import jobs
from service.store.database import Database
from tests.service.examples import ERROR, Outcome, add_job
from tests.service.live import Api, assert_problem, serve

STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
def running(api: Api) -> str:
    """A job with three events: queued, running, and a log line."""
    with api.database.write() as c:
        job_id = add_job(c).id
        jobs.claim(c, job_id, "worker", 300)
        jobs.append_events(c, job_id, 1, [jobs.NewEvent("log", "line\none", data={"a": [1]})])
    return job_id


def frames(text: str) -> list[dict[str, str]]:
    """The fields of every event of a stream; comments and settings are left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            events.append(fields)
    return events


def follow(api: Api, job_id: str, **headers: str) -> list[dict[str, str]]:
    """Read a stream to its end."""
    answer = api.http.get(f"/v1/jobs/{job_id}/events", headers=STREAM | headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text.startswith("retry: ")
    return frames(answer.text)


def finish(database: Database, job_id: str) -> None:
    with database.write() as c:
        assert jobs.finish_succeeded(c, job_id, 1, Outcome([]))


def test_events_are_read_page_by_page(api: Api, running: str) -> None:
    first: dict[str, Any] = api.http.get(f"/v1/jobs/{running}/events?limit=2").json()
    assert [event["seq"] for event in first["data"]] == [1, 2]
    rest = api.http.get(f"/v1/jobs/{running}/events?after={first['next_cursor']}").json()
    assert [(event["seq"], event["type"], event["message"]) for event in rest["data"]] == [(3, "log", "line\none")]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", f"after={2**40}"])
def test_a_page_beyond_bounds_is_refused(api: Api, running: str, query: str) -> None:
    assert_problem(api.http.get(f"/v1/jobs/{running}/events?{query}"), InvalidRequest, query.split("=")[0])


def test_a_stream_of_a_finished_job_replays_all_and_ends_with_done(api: Api, running: str) -> None:
    finish(api.database, running)
    events = follow(api, running)
    assert [event["id"] for event in events] == ["1", "2", "3", "4"]
    assert [event["event"] for event in events] == ["state", "state", "log", "done"]
    assert json.loads(events[2]["data"])["message"] == "line\none"
    assert json.loads(events[3]["data"])["data"] == {"status": "succeeded", "verdict": "PASS"}


def test_a_stream_shows_events_as_they_come(api: Api, running: str) -> None:
    def work() -> None:
        for index in range(3):
            time.sleep(0.1)
            with api.database.write() as c:
                jobs.append_events(c, running, 1, [jobs.NewEvent("metrics", str(index))])
        with api.database.write() as c:
            jobs.finish_failed(c, running, 1, ERROR)

    worker = threading.Thread(target=work)
    worker.start()
    events = follow(api, running)
    worker.join()
    assert [event["event"] for event in events] == ["state", "state", "log", "metrics", "metrics", "metrics", "done"]


def test_a_stream_goes_on_after_the_last_event_seen(api: Api, running: str) -> None:
    finish(api.database, running)
    assert [event["id"] for event in follow(api, running, **{"Last-Event-ID": "2"})] == ["3", "4"]


def test_a_stream_that_saw_the_end_is_told_not_to_come_back(api: Api, running: str) -> None:
    finish(api.database, running)
    answer = api.http.get(f"/v1/jobs/{running}/events", headers=STREAM | {"Last-Event-ID": "4"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", "9999999999"])
def test_a_last_event_id_that_is_no_number_of_an_event_is_refused(api: Api, running: str, last: str) -> None:
    answer = api.http.get(f"/v1/jobs/{running}/events", headers=STREAM | {"Last-Event-ID": last})
    assert_problem(answer, InvalidHeader)


def test_a_stream_is_closed_after_its_time_and_can_be_taken_up_again(settings: Settings) -> None:
    database = Database(settings.sqlalchemy_url)
    with database.write() as c:
        job_id = add_job(c).id
    short = settings.model_copy(update={"api": settings.api.model_copy(update={"stream_seconds": 1})})
    with serve(short) as url:
        answer = httpx.get(f"{url}/v1/jobs/{job_id}/events", headers=STREAM, timeout=30)
        assert [event["id"] for event in frames(answer.text)] == ["1"]
        with database.write() as c:
            jobs.request_cancel(c, job_id)
        answer = httpx.get(f"{url}/v1/jobs/{job_id}/events", headers=STREAM | {"Last-Event-ID": "1"}, timeout=30)
        assert [event["event"] for event in frames(answer.text)] == ["done"]
    database.close()


def test_an_open_stream_does_not_hold_up_a_server_that_stops(settings: Settings) -> None:
    """The stream would last ten minutes, and this test with it: its timeout is the only clock here."""
    database = Database(settings.sqlalchemy_url)
    with database.write() as c:
        job_id = add_job(c).id
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "api", "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            env=os.environ | {"SECATEUR_DATA_DIR": str(settings.data_dir)},
        )
        try:
            with httpx.stream("GET", f"{url}/v1/jobs/{job_id}/events", headers=STREAM, timeout=60) as answer:
                chunks = answer.iter_text()
                assert next(chunks).startswith("retry: ")
                server.send_signal(signal.SIGINT)
                assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()
            database.close()


def test_an_event_type_cannot_break_out_of_its_line(api: Api, running: str) -> None:
    with api.database.write() as c:
        jobs.append_events(c, running, 1, [jobs.NewEvent("log\ndata: forged", "x")])
    finish(api.database, running)
    events = follow(api, running)
    assert [event["id"] for event in events] == ["1", "2", "3", "4", "5"]
    assert json.loads(events[3]["data"])["message"] == "x"
