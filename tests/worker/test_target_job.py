"""Jobs with targets in bytes and in time, from uploads to files, in this process."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from service.contract.report import Report, TargetResult
from tests.worker.test_sparse_job import LIMITS, order, report_in, uploads
from worker.errors import TargetUnreachable
from worker.formats.pt2 import read_pt2
from worker.order import JobOrder, UploadFile
from worker.pipeline import run
from worker.profile import profile
from worker.reporter import Silent

__all__ = ["uploads"]

Uploads = tuple[UploadFile, UploadFile]
PRUNE = {"criterion": "magnitude", "round_to": 2, "schedule": {"steps": 2}}


def job(uploads: Uploads, folder: Path, target: dict[str, float], **recipe: Any) -> JobOrder:
    recipe = {"prune": PRUNE, "finetune": {"epochs": 0}, "export": {"latency": False}, **recipe}
    return order(uploads, folder, target=target, **recipe)


def finished(uploads: Uploads, folder: Path, target: dict[str, float], **recipe: Any) -> Report:
    run(job(uploads, folder, target, **recipe), Silent())
    return report_in(folder)


def results(report: Report) -> dict[str, TargetResult]:
    found = {result.name: result for result in report.benefits.targets}
    assert list(found) == list(report.recipe.target.asked)
    assert all(result.met for result in found.values())
    return found


def test_a_job_with_a_file_size_ships_a_file_of_at_most_that_size(uploads: Uploads, tmp_path: Path) -> None:
    found = results(finished(uploads, tmp_path, {"size_bytes": 14_000}))["size_bytes"]
    size = (tmp_path / "output" / "model.onnx").stat().st_size
    assert found.reached == size
    assert 13_000 < size <= 14_000
    assert found.limit is not None
    assert found.limit < size


def test_a_job_with_a_memory_limit_ships_a_model_that_needs_no_more(uploads: Uploads, tmp_path: Path) -> None:
    dense = profile(read_pt2(uploads[0].path, LIMITS)).memory_bytes
    assert dense is not None
    found = results(finished(uploads, tmp_path, {"memory_bytes": dense // 2}))["memory_bytes"]
    shipped = profile(read_pt2(tmp_path / "output" / "model.pt2", LIMITS)).memory_bytes
    assert found.reached == shipped
    assert 0.3 * dense < shipped <= dense // 2


@pytest.mark.slow
def test_two_targets_are_both_met(uploads: Uploads, tmp_path: Path) -> None:
    found = results(finished(uploads, tmp_path, {"params": 0.9, "size_bytes": 16_000, "memory_bytes": 7000}))
    assert found["params"].reached <= 0.9
    assert found["size_bytes"].reached <= 16_000
    assert found["memory_bytes"].reached <= 7000


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"size_bytes": 2000}, r"size_bytes 2000 was asked and \d{4} can be reached under"),
        ({"memory_bytes": 400}, r"memory_bytes 400 was asked and \d+ can be reached under"),
    ],
)
def test_what_cannot_be_reached_fails_and_says_what_can(
    uploads: Uploads, tmp_path: Path, target: dict[str, float], said: str
) -> None:
    with pytest.raises(TargetUnreachable, match=said):
        finished(uploads, tmp_path, target)


@pytest.mark.slow
def test_the_limit_that_a_failure_names_is_reached_when_asked_for(uploads: Uploads, tmp_path: Path) -> None:
    with pytest.raises(TargetUnreachable) as caught:
        finished(uploads, tmp_path / "first", {"size_bytes": 2000})
    limit = int(str(caught.value).split(" was asked and ")[1].split()[0])
    found = results(finished(uploads, tmp_path / "second", {"size_bytes": limit}))
    assert found["size_bytes"].reached == limit
    onnxruntime.InferenceSession(tmp_path / "second" / "output" / "model.onnx")
