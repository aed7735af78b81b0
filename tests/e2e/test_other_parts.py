"""The service on a database and a broker that it did not start itself, as in production."""

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from service.valkey import find_server
from tests.e2e.live import live


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """URL of a Valkey server with a password, on TCP."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    password = secrets.token_hex(8)
    server = subprocess.Popen(
        [find_server(), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", password, "--save", ""],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert server.poll() is None
            time.sleep(0.05)
    client.close()
    yield url
    server.terminate()
    server.wait(30)


def test_a_job_runs_on_postgresql_and_a_broker_of_its_own(
    tmp_path: Path, digits: Path, postgresql: str, broker: str
) -> None:
    with psycopg.connect(f"{postgresql}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE e2e")
    with live(tmp_path / "data", DATABASE_URL=f"{postgresql}/e2e", REDIS_URL=broker) as service:
        model = service.upload("models", digits / "digits.pt2")
        dataset = service.upload("datasets", digits / "digits.npz")
        recipe = {"target": {"macs": 0.5}, "input": {"scale": 0.0625}, "finetune": {"epochs": 1}}
        job = service.run(model, dataset, recipe)
        assert job["status"] == "succeeded", job["error"]
        assert job["attempt"] == 1
        assert service.http.get(f"/v1/jobs/{job['id']}/artifacts/model.onnx").status_code == 200
        assert not (tmp_path / "data" / "secateur.db").exists()
        assert not (tmp_path / "data" / "valkey").exists()
