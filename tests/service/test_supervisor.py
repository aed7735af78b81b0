"""`secateur up` as a user meets it: a real one, with all its processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.settings import Settings
from service.valkey import Valkey
from tests.rig import PATIENCE, lives, wait_until

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "DATABASE_URL")} | {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "OMP_NUM_THREADS": "1",
}


class Up:
    def __init__(self, data_dir: Path, output: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", "up", "--port", "0", "--data-dir", data_dir, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=ENVIRONMENT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def url(self) -> str:
        found = re.search(r"Secateur is ready at (http://\S+) ", self.output)
        assert found, self.output
        return found[1]

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Secateur is ready" in self.output or self.process.poll() is not None)

    def children(self) -> dict[int, str]:
        """Command lines of the child processes and of their children, by pid."""
        return _descendants(self.process.pid)

    def child(self, words: str) -> int:
        [pid] = [pid for pid, command in self.children().items() if words in command]
        return pid


@contextmanager
def _up(tmp_path: Path, *arguments: str) -> Iterator[Up]:
    up = Up(tmp_path / "data", tmp_path / "output", *arguments)
    try:
        yield up
    finally:
        if up.process.poll() is None:
            up.process.kill()
        up.process.wait()


def _descendants(pid: int) -> dict[int, str]:
    found = {}
    listing = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True)
    for line in listing.stdout.splitlines():
        child, _, command = line.strip().partition(" ")
        found |= {int(child): command} | _descendants(int(child))
    return found


def _get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        read: dict[str, object] = json.load(answer)
        return read


def test_a_life_from_ready_to_stopped(tmp_path: Path) -> None:
    with _up(tmp_path, "--workers", "2") as up:
        up.wait_until_ready()
        assert _get(f"{up.url}/readyz")["status"] == "ready"
        assert sum("worker --queue jobs" in command for command in up.children().values()) == 2

        second = subprocess.run(
            [sys.executable, "-m", "service.cli", "up", "--port", "0", "--data-dir", up.data_dir],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        assert second.returncode == 1
        assert f"is in use by the secateur process {up.process.pid}" in second.stderr

        # The supervisor holds the socket: a client that calls while the API is away waits and is answered.
        api = up.child("service.cli api")
        os.kill(api, signal.SIGKILL)
        assert _get(f"{up.url}/healthz")
        assert up.child("service.cli api") != api
        assert "api was killed by signal 9; restarting it" in up.output

        os.kill(up.child("valkey-server"), signal.SIGKILL)
        wait_until(lambda: "valkey was killed by signal 9" in up.output)
        wait_until(lambda: Valkey(Settings(data_dir=up.data_dir, redis_url=None)).answers())

        family = up.children()
        up.process.terminate()
        assert up.process.wait(PATIENCE) == 0
        assert up.output.rstrip().endswith("stopped")
        assert "killing it" not in up.output
        assert not any(lives(pid) for pid in family)


def test_its_children_end_when_it_is_killed_and_the_broker_is_found_again(tmp_path: Path) -> None:
    with _up(tmp_path) as up:
        wait_until(lambda: sum("service.cli" in command for command in up.children().values()) == 2)
        family = up.children()
        [broker] = [pid for pid, command in family.items() if "valkey" in command]
        up.process.kill()
        up.process.wait()
        wait_until(lambda: not any(lives(pid) for pid in family if pid != broker))
    assert lives(broker)
    successor = Valkey(Settings(data_dir=up.data_dir, redis_url=None))
    successor.start()
    successor.stop()
    assert not lives(broker)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with _up(tmp_path, "--port", str(port)) as up:
            assert up.process.wait(PATIENCE) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in up.output
    assert "--port" in up.output
