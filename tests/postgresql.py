"""A throw-away PostgreSQL server."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

__all__ = ["postgresql"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a throw-away PostgreSQL server. Skips where its programs are absent."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("no initdb and postgres on PATH or in /usr/lib/postgresql")
    # PostgreSQL refuses to run as root, and its user must reach the folder.
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="secateur-postgresql-"))
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    data = folder / "data"
    prepare = f"{programs}/initdb --pgdata {data} --auth trust --username secateur --no-sync"
    subprocess.run([*as_user, *prepare.split()], check=True, capture_output=True, cwd=folder)
    serve = f"{programs}/postgres -D {data} -p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*as_user, *serve.split()], stdout=log, stderr=log, cwd=folder)
    url = f"postgresql://secateur@127.0.0.1:{port}"
    try:
        _wait_for_postgresql(f"{url}/postgres", server, folder / "log")
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown; SIGTERM would wait for clients to hang up
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _postgresql_programs() -> Path | None:
    candidates = [Path(found).parent for found in [shutil.which("initdb")] if found]
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


def _wait_for_postgresql(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
            time.sleep(0.1)
