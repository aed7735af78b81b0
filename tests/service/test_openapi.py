"""The description is complete, and the service does what it says: Schemathesis tries to show the contrary."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service import __version__
from service.app import create_app
from service.openapi import openapi_yaml
from service.settings import Settings
from service.store import workers
from service.store.blobs import Blobs
from service.store.database import Database
from service.valkey import Valkey
from tests.service.live import Api, serve

# A model whose id only this database knows cannot be in the schema, and whether a recipe fits it is not its matter:
# for this one operation a valid request may be refused with 422 or 409. On a busy machine the probe may say not ready.
CONFIG = """
parameters = {{ "path.job_id" = "{job_id}" }}

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "404", "409"]

[[operations]]
include-name = "POST /v1/jobs"
checks = {{ positive_data_acceptance = {{ expected-statuses = ["2xx", "404", "409", "422"] }} }}

[[operations]]
include-path = "/readyz"
[operations.checks]
positive_data_acceptance = {{ expected-statuses = ["2xx", "503"] }}
not_a_server_error = {{ expected-statuses = ["2xx", "4xx", "503"] }}
"""


@pytest.fixture
def description(settings: Settings) -> dict[str, Any]:
    return create_app(settings).openapi()


def test_the_version_is_that_of_the_package_however_it_was_installed(description: dict[str, Any]) -> None:
    assert description["info"]["version"] == __version__
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "service.__version__"}


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in description["paths"].items()
        for method, operation in item.items()
    }


def test_every_operation_is_named_summed_up_and_tagged(description: dict[str, Any]) -> None:
    found = operations(description)
    assert all(o["operationId"] and o["summary"] and o["tags"] for o in found.values())
    assert len({o["operationId"] for o in found.values()}) == len(found)
    tags = {tag["name"] for tag in description["tags"]}
    assert {tag for o in found.values() for tag in o["tags"]} == tags


def test_every_error_is_declared_as_a_problem(description: dict[str, Any]) -> None:
    for name, operation in operations(description).items():
        for status, answer in operation["responses"].items():
            if status >= "400" and not name.startswith("HEAD"):
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
        assert {"422", "500"} <= set(operation["responses"]), name


def test_head_is_declared_without_bodies(description: dict[str, Any]) -> None:
    heads = {name: o for name, o in operations(description).items() if name.startswith("HEAD")}
    assert len(heads) == 5  # a model, a dataset, an artifact, two probes
    assert not [name for name, o in heads.items() for answer in o["responses"].values() if "content" in answer]


def test_all_references_lead_somewhere(description: dict[str, Any]) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*(references(item) for item in node)) if isinstance(node, list) else set()

    found = references(description)
    assert {ref.removeprefix("#/components/schemas/") for ref in found} <= set(description["components"]["schemas"])


def test_the_yaml_is_the_same_every_time_and_says_the_same_as_the_json(settings: Settings) -> None:
    text = openapi_yaml(create_app(settings))
    assert text == openapi_yaml(create_app(settings))
    assert yaml.safe_load(text) == create_app(settings).openapi()


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(settings: Settings, tmp_path: Path) -> None:
    broker = Valkey(settings)
    broker.start()
    database = Database(settings.sqlalchemy_url)
    with database.write() as c:
        workers.beat(c, "worker")
    brisk = settings.model_copy(
        update={
            "api": settings.api.model_copy(update={"max_wait_seconds": 1, "stream_seconds": 1}),
            "limits": settings.limits.model_copy(update={"request_bytes": 4 * 1024 * 1024}),
        }
    )
    try:
        with serve(brisk) as url:
            api = Api(None, url, brisk, database, Blobs(brisk.data_dir))  # type: ignore[arg-type]  # makes a job only
            job_id = api.finished_job({"model.onnx": (b"0123456789", "application/octet-stream")})
            config = tmp_path / "schemathesis.toml"
            config.write_text(CONFIG.format(job_id=job_id))
            found = subprocess.run(
                [
                    Path(sys.executable).parent / "st", "--config-file", config, "run", f"{url}/openapi.json",
                    "--checks", "all", "--max-examples", "10", "--seed", "1", "--no-color", "--request-timeout", "30",
                ],
                capture_output=True,
                text=True,
                cwd=tmp_path,
            )  # fmt: skip
    finally:
        database.close()
        broker.stop()
    assert found.returncode == 0, found.stdout + found.stderr
