"""What cannot work is refused, with a text that names the offender and the way out."""

import http.client
import io
import pickle
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from service.settings import LimitSettings
from tests.e2e.live import Json, Live


@pytest.fixture(scope="module")
def model(service: Live, digits: Path) -> Json:
    """The digits: images of (1, 8, 8), ten classes."""
    return service.upload("models", digits / "digits.pt2")


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def torchscript() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # torch deprecates it, people still have it
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def onnx_with_weights_elsewhere(folder: Path) -> bytes:
    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "weight"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [weight],
    )
    path = folder / "model.onnx"
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    onnx.save(whole, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path.read_bytes()


def rejected(service: Live, kind: str, content: bytes, *words: str) -> None:
    upload = service.upload(kind, content)
    assert upload["status"] == "rejected"
    assert upload["profile"] is None
    for word in words:
        assert word in upload["error"]["detail"]


def refused(answer: httpx.Response, code: str, pointer: str, *words: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    [error] = problem["errors"]
    assert error["pointer"] == pointer
    for word in words:
        assert word in error["detail"]


def test_a_truncated_archive_is_rejected(service: Live, digits: Path) -> None:
    content = (digits / "digits.pt2").read_bytes()
    rejected(service, "models", content[: len(content) // 2], "zip", "truncated")


def test_a_pickle_is_rejected_whatever_its_name(service: Live) -> None:
    rejected(service, "models", pickle.dumps({"weight": [1.0]}), "pickle", "torch.export.save")


def test_torchscript_is_rejected(service: Live) -> None:
    rejected(service, "models", torchscript(), "TorchScript", "torch.export.save")


def test_onnx_with_its_weights_in_another_file_is_rejected(service: Live, tmp_path: Path) -> None:
    rejected(service, "models", onnx_with_weights_elsewhere(tmp_path), "weight", "save_as_external_data=False")


def test_a_dataset_of_another_shape_is_refused_with_both_shapes(service: Live, model: Json) -> None:
    dataset = service.upload("datasets", npz(x=np.zeros((30, 8, 8, 3), np.uint8), labels=np.arange(30) % 10))
    answer = service.submit(model, dataset, {"target": {"macs": 0.5}})
    refused(answer, "dataset-mismatch", "#/dataset", "(N, 8, 8, 3)", "(batch, 1, 8, 8)")


def test_labels_out_of_range_are_refused(service: Live, model: Json) -> None:
    dataset = service.upload("datasets", npz(x=np.zeros((30, 8, 8, 1), np.uint8), labels=np.arange(30) % 12))
    answer = service.submit(model, dataset, {"target": {"macs": 0.5}})
    refused(answer, "dataset-mismatch", "#/dataset", "label 11", "10 classes")


def test_an_unknown_field_is_refused(service: Live, model: Json) -> None:
    answer = service.submit(model, None, {"target": {"macs": 0.5}, "fine_tune": {"epochs": 1}})
    refused(answer, "invalid-request", "#/recipe/fine_tune")


@pytest.mark.parametrize("target", [{"macs": 1.5}, {"macs": 0}, {"params": -1}])
def test_a_target_out_of_range_is_refused(service: Live, model: Json, target: dict[str, float]) -> None:
    [name] = target
    refused(service.submit(model, None, {"target": target}), "invalid-request", f"#/recipe/target/{name}", "than")


def test_an_unknown_model_is_refused(service: Live) -> None:
    unknown = {"id": "mdl_00000000000000000000000000"}
    refused(service.submit(unknown, None, {"target": {"macs": 0.5}}), "unknown-model", "#/model", "/v1/models")


def test_an_upload_above_the_limit_is_refused_before_it_is_sent(service: Live) -> None:
    connection = http.client.HTTPConnection(urlsplit(service.api).netloc, timeout=60)
    connection.putrequest("POST", "/v1/models")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(LimitSettings().upload_bytes + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"SECATEUR_LIMITS__UPLOAD_BYTES" in answer.read()
    connection.close()
