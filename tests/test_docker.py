"""Facts about the images and the compose file that need no engine, and the client's own check where there is one."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings

DOCKER = Path(__file__).parents[1] / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SECRETS = {"POSTGRES_PASSWORD": "a", "VALKEY_PASSWORD": "b"}


def final_stage(dockerfile: Path) -> str:
    return dockerfile.read_text().rpartition("\nFROM ")[2]


def environment_of(dockerfile: Path) -> dict[str, str]:
    return dict(re.findall(r"(SECATEUR_\w+)=(\S+)", final_stage(dockerfile)))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_runs_as_an_ordinary_user(dockerfile: Path) -> None:
    (user,) = re.findall(r"^USER (\S+)$", final_stage(dockerfile), flags=re.MULTILINE)
    assert user.split(":")[0] not in ("root", "0")


def test_both_images_share_the_user_that_owns_the_data() -> None:
    users = {re.findall(r"^USER (\S+)$", path.read_text(), flags=re.MULTILINE)[-1] for path in DOCKERFILES}
    assert len(users) == 1


def test_the_api_image_holds_neither_the_worker_nor_its_extra() -> None:
    text = (DOCKER / "api.Dockerfile").read_text()
    assert re.findall(r"^COPY (?!--from)(.+) \S+$", text, flags=re.MULTILINE) == [
        "pyproject.toml README.md LICENSE",
        "service",
    ]
    assert "[worker]" not in text


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_read_only_without_capabilities_and_cannot_gain_any(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", [name for name in COMPOSE["services"] if name != "api"])
def test_only_the_api_is_reachable_from_outside(name: str) -> None:
    service = COMPOSE["services"][name]
    assert "ports" not in service
    assert service["networks"] == ["inner"]
    assert COMPOSE["networks"]["inner"] == {"internal": True}


@pytest.mark.parametrize("name", ["migrate", "api", "reconcile", "worker"])
def test_what_a_container_is_told_are_valid_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = COMPOSE["services"][name]
    for variable in [variable for variable in os.environ if variable.startswith("SECATEUR_")]:
        monkeypatch.delenv(variable)
    dockerfile = DOCKER.parent / service["build"]["dockerfile"]
    for variable, value in {**environment_of(dockerfile), **service["environment"]}.items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", value))
    settings = Settings()
    assert settings.sqlalchemy_url.startswith("postgresql+psycopg://")
    assert settings.broker_url.startswith("redis://")


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_what_others_wait_for_has_a_health_check(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"]


def test_the_client_accepts_the_compose_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker client with the compose plugin")
    checked = subprocess.run(
        [docker, "compose", "--file", DOCKER / "compose.yaml", "config", "--quiet"],
        env={**os.environ, **SECRETS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
