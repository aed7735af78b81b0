import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service import __version__
from service.cli import main


def _secateur(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment,
    )


def test_help_names_every_command_and_the_exit_codes() -> None:
    shown = _secateur("--help").stdout
    for command in ("up", "api", "worker", "reconcile", "migrate", "openapi", "version"):
        assert f"\n    {command}" in shown
    assert "Exit codes: 0" in shown


def test_help_imports_none_of_what_the_commands_need() -> None:
    code = """
import sys, json
from service.cli import main
try:
    main(["up", "--help"])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(json.loads(done.stderr))
    assert not loaded & {"torch", "fastapi", "celery", "sqlalchemy", "pydantic", "redis", "worker"}


@pytest.mark.parametrize("arguments", [[], ["prune"], ["up", "--workers", "0"], ["api", "--port", "http"]])
def test_a_wrong_command_line_exits_with_2(arguments: list[str]) -> None:
    done = _secateur(*arguments)
    assert done.returncode == 2
    assert "usage: secateur" in done.stderr


def test_migrate_makes_the_database_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        assert _secateur("migrate", "--data-dir", tmp_path / "data").returncode == 0
    assert (tmp_path / "data" / "secateur.db").is_file()


def test_openapi_is_printed_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "openapi.yaml"
    assert main(["openapi", "--output", str(file)]) == 0
    assert "/v1/jobs" in file.read_text()
    assert main(["openapi"]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert main(["openapi", "--check", str(file)]) == 0
    file.write_text(file.read_text() + "\n# edited by hand\n")
    assert main(["openapi", "--check", str(file)]) == 1
    assert "is out of date" in capsys.readouterr().err
    assert main(["openapi", "--check", str(tmp_path / "missing.yaml")]) == 1


def test_openapi_and_version_write_nothing_into_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SECATEUR_DATA_DIR", raising=False)
    assert main(["openapi"]) == 0
    assert main(["version"]) == 0
    assert capsys.readouterr().out.endswith(f"\n{__version__}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["worker", "up"])
def test_without_the_worker_extra_the_way_out_is_named(tmp_path: Path, command: str) -> None:
    code = f"""
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("torch", "onnx") else find(name, *rest)
from service.cli import main
sys.exit(main([{command!r}, "--data-dir", {str(tmp_path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the worker needs torch, onnx: pip install 'secateur[worker]'" in done.stderr


def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    done = _secateur("migrate", "--data-dir", tmp_path, SECATEUR_JOBS__CONCURRENCY="0")
    assert done.returncode == 1
    assert "SECATEUR_JOBS__CONCURRENCY" in done.stderr
    assert "Traceback" not in done.stderr
