"""The main job over real HTTP: upload, prune, fine-tune, audit, export, download."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from service.contract.report import Report
from tests.e2e.live import Json, Live

INPUT = {"layout": "nhwc", "scale": 0.0625}
ARTIFACTS = {
    "model.onnx", "model.pt2", "plan.json", "recipe.json", "report.json", "report.html", "model-card.md",
    "manifest.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def uploads(service: Live, digits: Path) -> tuple[Json, Json]:
    """Model and dataset, inspected."""
    model = service.upload("models", digits / "digits.pt2", "digits")
    dataset = service.upload("datasets", digits / "digits.npz", "digits")
    assert model["status"] == dataset["status"] == "ready", (model, dataset)
    return model, dataset


@pytest.fixture(scope="module")
def finished(service: Live, uploads: tuple[Json, Json]) -> Json:
    """The main job at its end."""
    recipe = {"target": {"macs": 0.5}, "input": INPUT, "finetune": {"epochs": 4, "batch_size": 32}}
    return service.run(*uploads, recipe)


@pytest.fixture(scope="module")
def files(service: Live, finished: Json, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All artifacts, downloaded."""
    folder = tmp_path_factory.mktemp("artifacts")
    for artifact in service.http.get(f"/v1/jobs/{finished['id']}/artifacts").json()["data"]:
        content = service.http.get(artifact["url"]).content
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
        assert len(content) == artifact["size_bytes"]
        (folder / artifact["name"]).write_bytes(content)
    return folder


def test_the_job_succeeds_close_under_its_target(finished: Json) -> None:
    assert finished["status"] == "succeeded", finished["error"]
    assert 0.45 <= finished["result"]["macs_ratio"] <= 0.5
    assert finished["verdict"] in ("PASS", "INCONCLUSIVE", "FAIL")
    assert finished["attempt"] == 1
    assert finished["progress"]["fraction"] == 1


def test_the_pruned_model_still_works(finished: Json) -> None:
    result = finished["result"]
    assert result["accuracy"] > result["accuracy_twin"] - 6
    assert result["accuracy_dense"] > 95


def test_every_count_is_a_multiple_of_eight(files: Path) -> None:
    layers = json.loads((files / "plan.json").read_text())["layers"]
    convolutions = [layer for layer in layers if layer["op"].startswith("conv")]
    assert convolutions
    assert all(layer["channels_kept"] % 8 == 0 for layer in convolutions)
    assert any(layer["channels_kept"] < layer["channels"] for layer in convolutions)


def test_all_artifacts_are_there_and_the_manifest_names_their_digests(files: Path) -> None:
    assert {path.name for path in files.iterdir()} == ARTIFACTS
    for entry in json.loads((files / "manifest.json").read_text())["files"]:
        assert hashlib.sha256((files / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]


def test_onnx_runtime_answers_as_the_report_says(files: Path, digits: Path) -> None:
    report = Report.model_validate_json((files / "report.json").read_bytes())
    data = np.load(digits / "digits.npz")
    session = onnxruntime.InferenceSession(files / "model.onnx")
    images = (data["x_test"].astype(np.float32) / 16).transpose(0, 3, 1, 2)
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    accuracy = 100 * float((logits.argmax(1) == data["y_test"]).mean())
    (pruned,) = [arm for arm in report.arms if arm.arm == "pruned"]
    assert accuracy == pytest.approx(pruned.accuracy)
    assert report.export_check.accuracy == pytest.approx(accuracy)
    assert session.get_inputs()[0].shape[0] == "batch"


def test_the_exported_files_tell_nothing_about_where_they_were_made(files: Path, service: Live) -> None:
    secrets = [str(service.data_dir).encode(), b"site-packages", str(Path.home()).encode(), b'.py"']
    for name in ("model.onnx", "model.pt2"):
        content = (files / name).read_bytes()
        assert not [secret for secret in secrets if secret in content]
    model = onnx.load(files / "model.onnx")
    assert not [node.name for node in model.graph.node if node.metadata_props or node.doc_string]


def test_the_exported_pt2_can_be_pruned_again(service: Live, files: Path, uploads: tuple[Json, Json]) -> None:
    again = service.upload("models", files / "model.pt2", "digits pruned")
    assert again["status"] == "ready", again["error"]
    assert again["profile"]["macs"] < uploads[0]["profile"]["macs"] / 2


def test_a_resolved_recipe_can_be_submitted_again(service: Live, finished: Json, uploads: tuple[Json, Json]) -> None:
    assert finished["recipe"]["finetune"]["augment"] is not None
    answer = service.http.post(
        "/v1/jobs?validate_only=true",
        json={"model": uploads[0]["id"], "dataset": uploads[1]["id"], "recipe": finished["recipe"]},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["recipe"] == finished["recipe"]


def test_events_count_without_gaps_and_tell_every_stage(service: Live, finished: Json) -> None:
    events = service.events(f"/v1/jobs/{finished['id']}")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    told = " ".join(event["message"] for event in events if event["type"] == "stage")
    for stage in ("load", "baseline", "prune", "finetune", "audit", "export", "verify", "publish"):
        assert stage in told
    assert events[-1]["type"] == "done"


def test_a_target_alone_prunes_well(service: Live, uploads: tuple[Json, Json], digits: Path) -> None:
    data = dict(np.load(digits / "digits.npz"))
    for name in ("x_train", "x_test"):
        data[name] = data[name].astype(np.float32) / 16
    as_trained = digits / "as-trained.npz"
    np.savez(as_trained, **data)
    job = service.run(uploads[0], service.upload("datasets", as_trained), {"target": {"macs": 0.5}})
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["accuracy_dense"] > 95
    assert job["result"]["accuracy"] > job["result"]["accuracy_twin"] - 10


def test_a_scale_that_is_a_guess_is_a_warning(service: Live, uploads: tuple[Json, Json]) -> None:
    request = {"model": uploads[0]["id"], "dataset": uploads[1]["id"], "recipe": {"target": {"macs": 0.5}}}
    plan = service.http.post("/v1/jobs?validate_only=true", json=request).raise_for_status().json()
    assert "input-scale-assumed" in [warning["code"] for warning in plan["warnings"]]


def test_without_data_the_prune_is_data_free_and_says_what_it_could_not_assess(
    service: Live, uploads: tuple[Json, Json]
) -> None:
    job = service.run(uploads[0], None, {"target": {"params": 0.6}})
    assert job["status"] == "succeeded", job["error"]
    assert job["verdict"] == "INCONCLUSIVE"
    assert 0.5 < job["result"]["params_ratio"] <= 0.6
    report: dict[str, Any] = service.http.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["evidence_tier"] == 0
    assert report["not_assessed"]
    assert report["vs_twin"] is None


def test_unlabelled_data_is_distilled_and_never_passes(service: Live, uploads: tuple[Json, Json], digits: Path) -> None:
    data = np.load(digits / "digits.npz")
    unlabelled = digits / "unlabelled.npz"
    np.savez(unlabelled, x=data["x_train"])
    dataset = service.upload("datasets", unlabelled)
    assert dataset["profile"]["labels"] == "none"
    job = service.run(uploads[0], dataset, {"target": {"macs": 0.6}, "input": INPUT, "finetune": {"epochs": 1}})
    assert job["status"] == "succeeded", job["error"]
    assert job["verdict"] == "INCONCLUSIVE"
    assert job["result"]["accuracy"] is None
