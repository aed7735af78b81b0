"""The API behind a real HTTP server, in a thread of the test."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.contract.resources import Problem
from service.errors import MEDIA_TYPE, ProblemError, problem_type
from service.settings import Settings
from service.store import jobs
from service.store.blobs import Blobs
from service.store.database import Database
from tests.service.examples import Made, Outcome, add_job, made

__all__ = ["Api", "assert_problem", "serve"]


@dataclass(frozen=True)
class Api:
    """A client of a server, and a back door to what is behind it."""

    http: httpx.Client
    url: str
    settings: Settings
    database: Database
    blobs: Blobs

    def finished_job(self, files: dict[str, tuple[bytes, str]]) -> str:
        """A job that succeeded with these files (content and media type)."""
        with self.database.write() as c:
            job_id = add_job(c).id
            claim = jobs.claim(c, job_id, "worker", 30)
            assert claim is not None
            folder = self.blobs.attempt_dir(job_id, claim.attempt)
            outcome: list[Made] = []
            for name, (content, media_type) in files.items():
                (folder / name).write_bytes(content)
                outcome.append(made(name, content, media_type))
            assert jobs.finish_succeeded(c, job_id, claim.attempt, Outcome(outcome))
        return job_id


@contextmanager
def serve(settings: Settings, app: FastAPI | None = None) -> Iterator[str]:
    """Run an application on a free port; the value is its URL."""
    config = uvicorn.Config(
        app or create_app(settings), host="127.0.0.1", port=0, log_config=None, access_log=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"


def assert_problem(response: httpx.Response, kind: type[ProblemError], *pointers: str) -> dict[str, Any]:
    """The answer has the one form that all errors have, is of this kind, and points at these fields."""
    assert response.status_code == kind.status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    body: dict[str, Any] = response.json()
    problem = Problem.model_validate(body)
    assert (problem.code, problem.type, problem.title) == (kind.slug, problem_type(kind.slug), kind.title)
    assert problem.status == response.status_code
    assert unquote(problem.instance or "") == response.url.path
    assert problem.request_id == response.headers["x-request-id"]
    assert {error.pointer for error in problem.errors} == set(pointers)
    assert problem.detail
    return body
