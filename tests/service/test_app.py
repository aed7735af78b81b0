import subprocess
import sys
from pathlib import Path

from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.service.live import Api


def test_the_api_imports_no_torch_in_under_a_second_and_a_half_of_cpu() -> None:
    """The bound is on CPU, which a busy machine does not stretch; it is the promise of the API image."""
    script = (
        "import time, sys, service.app; "
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'worker'} & set(sys.modules); "
        "print(time.process_time(), *heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 1.5


def test_two_applications_in_one_process_do_not_meet(settings: Settings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"data_dir": tmp_path / "other"})
    first, second = create_app(settings), create_app(other)
    assert isinstance(first, FastAPI)
    assert first.state.services.database is not second.state.services.database
    assert first.state.services.metrics is not second.state.services.metrics


def test_an_application_writes_nothing_before_it_starts(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    app = create_app(settings.model_copy(update={"data_dir": folder}))
    assert app.openapi()["paths"]
    app.state.services.database.close()
    assert not folder.exists()


def test_every_answer_has_a_request_id(api: Api) -> None:
    assert api.http.get("/healthz").headers["x-request-id"].startswith("req_")


def test_a_sane_request_id_is_taken_over(api: Api) -> None:
    answer = api.http.get("/healthz", headers={"X-Request-Id": "ci-4711.a"})
    assert answer.headers["x-request-id"] == "ci-4711.a"


def test_a_request_id_that_could_forge_log_lines_is_replaced(api: Api) -> None:
    answer = api.http.get("/healthz", headers={"X-Request-Id": "a b"})
    assert answer.headers["x-request-id"].startswith("req_")


def test_there_is_no_cors(api: Api) -> None:
    answer = api.http.get("/healthz", headers={"Origin": "https://example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
