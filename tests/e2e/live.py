"""A whole service, started as a user starts it, and a client that follows its jobs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.rig import PATIENCE, lives

__all__ = ["Live", "live"]

ROOT = Path(__file__).parents[2]
Json = dict[str, Any]


class Live:
    """A running `secateur up`, spoken to over HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], api: str, data_dir: Path) -> None:
        self.process = process
        self.api = api
        self.data_dir = data_dir
        self.http = httpx.Client(base_url=api, timeout=90)

    def upload(self, kind: str, content: bytes | Path, name: str = "upload") -> Json:
        """Send a file and wait for its inspection, whatever that says."""
        body = content.read_bytes() if isinstance(content, Path) else content
        answer = self.http.post(
            f"/v1/{kind}", params={"name": name}, content=body, headers={"content-type": "application/octet-stream"}
        )
        assert answer.status_code in (200, 201), answer.text
        path = f"/v1/{kind}/{answer.json()['id']}"
        return self.poll(path, lambda upload: upload["status"] != "inspecting")

    def submit(self, model: Json, dataset: Json | None, recipe: Json, **more: Any) -> httpx.Response:
        request = {"model": model["id"], "recipe": recipe, **more}
        return self.http.post("/v1/jobs", json=request | ({"dataset": dataset["id"]} if dataset else {}))

    def start(self, model: Json, dataset: Json | None, recipe: Json) -> str:
        """Submit a job that is accepted; its path."""
        answer = self.submit(model, dataset, recipe)
        assert answer.status_code == 202, answer.text
        return str(answer.headers["location"])

    def run(self, model: Json, dataset: Json | None, recipe: Json) -> Json:
        """Submit a job and wait for its end."""
        return self.finish(self.start(model, dataset, recipe))

    def finish(self, path: str, seconds: float = PATIENCE) -> Json:
        return self.poll(path, lambda job: bool(job["done"]), seconds, headers={"Prefer": "wait=20"})

    def poll(
        self, path: str, until: Callable[[Json], bool], seconds: float = PATIENCE, headers: dict[str, str] | None = None
    ) -> Json:
        """GET until the answer is as wanted. A refused connection is tried again: the API may be restarting."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                resource: Json = self.http.get(path, headers=headers).raise_for_status().json()
                if until(resource):
                    return resource
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"{path} was not as wanted within {seconds} s")

    def events(self, path: str) -> list[Json]:
        data: list[Json] = self.http.get(f"{path}/events", params={"limit": 100}).json()["data"]
        while True:
            more = self.http.get(f"{path}/events", params={"limit": 100, "after": data[-1]["seq"]}).json()["data"]
            if not more:
                return data
            data += more

    def child(self, *words: str) -> int:
        """Pid of the child of the supervisor whose command line holds all of `words`."""
        listing = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        ).stdout
        (pid,) = [int(line.split()[0]) for line in listing.splitlines() if all(word in line for word in words)]
        return pid

    def of_job(self) -> list[int]:
        """The processes of the job that runs: what is below the fork server of the worker."""
        worker = self.child("worker", "jobs")
        return self.descendants(worker, deeper_than=1)

    def descendants(self, root: int | None = None, deeper_than: int = 0) -> list[int]:
        """Every process below `root`, by default the supervisor. At a depth of one are its children."""
        listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listing.splitlines())}
        found: list[int] = []
        depth, level = 0, {root or self.process.pid}
        while level := {pid for pid, parent in parents.items() if parent in level}:
            depth += 1
            found += level if depth > deeper_than else ()
        return found


@contextmanager
def live(data_dir: Path, **settings: str) -> Iterator[Live]:
    """`secateur up` on a free port, ready for jobs. It must stop cleanly at the end and leave no process behind.

    `settings` are environment variables.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = data_dir.with_suffix(".log")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SECATEUR_")}
    environment |= {"PYTHONPATH": str(ROOT)} | settings  # so that a checkout need not be installed
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "up", "--port", str(port), "--data-dir", data_dir],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    service = Live(process, f"http://127.0.0.1:{port}", data_dir)
    try:
        while not _is_ready(service):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield service
    finally:
        below = service.descendants()
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=PATIENCE)
        service.http.close()
    assert code == 0, log.read_text()
    assert not [pid for pid in below if lives(pid)], "processes were left behind"


def _is_ready(service: Live) -> bool:
    try:
        return service.http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False
