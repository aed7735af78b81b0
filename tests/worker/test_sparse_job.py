"""Sparse jobs from uploads to files, in this process."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zstandard
from onnx import numpy_helper

from service.contract.recipe import Recipe
from service.contract.report import Report
from service.contract.resolve import resolve
from service.contract.resources import DatasetProfile, ModelProfile
from tests.worker.digits import DIGITS_INPUT, digits, trained_digits
from worker.export.pt2 import write_pt2
from worker.inspection import inspect
from worker.order import ChildLimits, InspectOrder, JobOrder, JobOutcome, UploadFile
from worker.pipeline import run
from worker.reporter import Silent

LIMITS = ChildLimits(
    memory_bytes=2**33, cpu_seconds=600, file_bytes=2**30, dataset_bytes=2**30,
    model_nodes=10_000, threads=1, device="cpu",
)  # fmt: skip


class Interrupting(Silent):
    """Ends the run at a given sign of life."""

    def __init__(self, stop_at: int | None = None) -> None:
        self._left = stop_at

    def progress(self, fraction: float, message: str) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> tuple[UploadFile, UploadFile]:
    folder = tmp_path_factory.mktemp("uploads")
    model, dataset = folder / "model.pt2", folder / "digits.npz"
    write_pt2(trained_digits(), model)
    np.savez(dataset, x=digits().arrays["x"], y=digits().labels)
    return _upload(model), _upload(dataset)


def _upload(path: Path) -> UploadFile:
    return UploadFile(id=path.stem, name=path.stem, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), path=path)


def order(uploads: tuple[UploadFile, UploadFile], folder: Path, **recipe: Any) -> JobOrder:
    model, dataset = (
        inspect(InspectOrder(kind=kind, upload=upload, limits=LIMITS))
        for kind, upload in zip(("model", "dataset"), uploads, strict=True)
    )
    assert isinstance(model, ModelProfile)
    assert isinstance(dataset, DatasetProfile)
    asked = Recipe.model_validate({"finetune": {"epochs": 2}, "input": DIGITS_INPUT.model_dump(), **recipe})
    resolved = resolve(asked, model, dataset)
    work, output = folder / "work", folder / "output"
    work.mkdir(parents=True, exist_ok=True)
    output.mkdir(exist_ok=True)
    return JobOrder(
        job_id="job_1",
        attempt=1,
        model=uploads[0],
        dataset=uploads[1],
        recipe=resolved.recipe,
        work_dir=work,
        output_dir=output,
        limits=LIMITS,
    )


def report_in(folder: Path) -> Report:
    return Report.model_validate(json.loads((folder / "output" / "report.json").read_text()))


def zeros_in(path: Path) -> int:
    weights = [numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer]
    return sum(int((weight == 0).sum()) for weight in weights if weight.ndim > 1)


def test_a_sparse_job_ships_its_zeros_and_says_what_they_bought(
    uploads: tuple[UploadFile, UploadFile], tmp_path: Path
) -> None:
    made: JobOutcome = run(
        order(uploads, tmp_path, target={"sparsity": 0.8}, prune={"criterion": "magnitude"}), Silent()
    )
    report, output = report_in(tmp_path), tmp_path / "output"
    sparsity, gained = report.structure.sparsity, report.benefits
    assert sparsity is not None
    assert 0.8 <= sparsity.sparsity < 0.8 + 1 / sparsity.entries
    assert zeros_in(output / "model.onnx") == sparsity.zeros
    assert gained.macs == gained.macs_dense
    assert gained.onnx.size_bytes == gained.onnx_dense.size_bytes
    artifact = next(file for file in made.artifacts if file.name == "model.onnx.zst")
    assert artifact.media_type == "application/zstd"
    assert gained.compressed is not None
    assert gained.compressed_dense is not None
    assert artifact.size_bytes == gained.compressed.size_bytes < 0.6 * gained.compressed_dense.size_bytes
    packed = (output / "model.onnx.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompress(packed) == (output / "model.onnx").read_bytes()
    assert report.sparsity is not None
    assert "faster" not in report.sparsity.summary
    assert next(gate for gate in report.gates if gate.id == "G1").status == "PASS"


@pytest.mark.parametrize(
    ("sparsity", "prune"),
    [
        (0.5, {"granularity": "n:m", "criterion": "sparsegpt"}),
        (0.5, {"granularity": "block", "block": [2, 4], "criterion": "wanda", "allocation": "erk"}),
    ],
)
def test_patterns_and_tiles_survive_fine_tuning_and_export(
    uploads: tuple[UploadFile, UploadFile], tmp_path: Path, sparsity: float, prune: dict[str, Any]
) -> None:
    run(order(uploads, tmp_path, target={"sparsity": sparsity}, prune=prune, export={"latency": False}), Silent())
    found = report_in(tmp_path).structure.sparsity
    assert found is not None
    assert found.zeros == zeros_in(tmp_path / "output" / "model.onnx")
    assert found.sparsity >= sparsity


def test_units_and_weights_in_one_recipe_both_meet_their_target(
    uploads: tuple[UploadFile, UploadFile], tmp_path: Path
) -> None:
    prune = {"granularity": ["channel", "unstructured"], "criterion": "magnitude", "round_to": 4}
    run(order(uploads, tmp_path, target={"macs": 0.6, "sparsity": 0.5}, prune=prune), Silent())
    report = report_in(tmp_path)
    assert report.structure.sparsity is not None
    assert report.structure.sparsity.sparsity >= 0.5
    assert report.benefits.macs_ratio <= 0.6
    assert report.sparsity is not None
    assert "that is the removed units" in report.sparsity.summary


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [25, 60, 100])
def test_a_sparse_job_that_is_killed_ends_with_the_same_files(
    uploads: tuple[UploadFile, UploadFile], tmp_path: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.training.loop._PULSE", 0.0)  # a sign of life in every step
    recipe: dict[str, Any] = {
        "target": {"sparsity": 0.9},
        "prune": {"criterion": "movement", "schedule": {"kind": "cubic", "steps": 3, "epochs": 1}},
        "export": {"latency": False},
    }
    run(order(uploads, tmp_path / "whole", **recipe), Silent())
    with pytest.raises(KeyboardInterrupt):
        run(order(uploads, tmp_path / "killed", **recipe), Interrupting(stop_at))
    shutil.rmtree(tmp_path / "killed" / "output")
    run(order(uploads, tmp_path / "killed", **recipe), Silent())
    whole, resumed = (tmp_path / name / "output" / "model.onnx" for name in ("whole", "killed"))
    assert whole.read_bytes() == resumed.read_bytes()
