"""A published network on real photographs, through the whole service: half the MACs, two epochs."""

from io import BytesIO
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.contract.report import Report
from tests.e2e.live import Json, Live

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
RECIPE = {
    "target": {"macs": 0.5},
    "finetune": {"epochs": 2},
    "input": {"layout": "nhwc", "scale": 1 / 255, "mean": MEAN, "std": STD},
}


@pytest.mark.parametrize("format_", ["pt2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_half_of_resnet20_stays_within_six_points_of_its_twin(
    service: Live, shared_data: Path, tmp_path: Path, format_: str
) -> None:
    model = service.upload("models", shared_data / "models" / f"resnet20.{format_}", "resnet20")
    dataset = service.upload("datasets", shared_data / "cifar10-dev.npz", "cifar10")
    assert model["status"] == dataset["status"] == "ready", (model, dataset)
    job = service.finish(service.start(model, dataset, RECIPE), seconds=1800)
    assert job["status"] == "succeeded", job["error"]

    result = job["result"]
    assert 0.45 <= result["macs_ratio"] <= 0.5
    assert result["accuracy_dense"] == pytest.approx(91.75)
    assert result["accuracy"] > result["accuracy_twin"] - 6
    assert job["verdict"] == "FAIL", "half of so small a network does lose classes, and the audit must say so"

    plan: Json = service.http.get(f"/v1/jobs/{job['id']}/artifacts/plan.json").json()
    assert all(layer["channels_kept"] % 8 == 0 for layer in plan["layers"] if layer["op"].startswith("conv"))

    report = Report.model_validate(service.http.get(f"/v1/jobs/{job['id']}/report").json())
    file = tmp_path / "model.onnx"
    file.write_bytes(service.http.get(f"/v1/jobs/{job['id']}/artifacts/model.onnx").content)
    assert accuracy_in_onnx_runtime(file, shared_data) == pytest.approx(report.export_check.accuracy)
    assert report.export_check.accuracy == pytest.approx(result["accuracy"])


def accuracy_in_onnx_runtime(file: Path, shared_data: Path) -> float:
    data = np.load(BytesIO((shared_data / "cifar10-dev.npz").read_bytes()))
    images = (data["x_test"].astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    session = onnxruntime.InferenceSession(file)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.transpose(0, 3, 1, 2).astype(np.float32)})
    return 100 * float((logits.argmax(1) == data["y_test"]).mean())
