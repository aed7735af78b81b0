"""One job for each kind of network, over HTTP: it succeeds, shrinks what was asked, and its files run."""

import json
from fnmatch import fnmatchcase
from io import BytesIO

import numpy as np
import onnxruntime
import pytest

from tests.e2e.architectures import CASES
from tests.e2e.live import Live


@pytest.mark.parametrize("name", CASES)
def test_a_network_of_every_kind_goes_through(service: Live, name: str) -> None:
    case = CASES[name]
    content, samples = case.make()
    model = service.upload("models", content, name)
    dataset = service.upload("datasets", samples, name)
    assert model["status"] == dataset["status"] == "ready", (model, dataset)
    job = service.run(model, dataset, case.recipe)
    assert job["status"] == "succeeded", job["error"]

    (target, asked), *_ = case.recipe["target"].items()
    assert 0 < job["result"][f"{target}_ratio"] <= asked

    def artifact(file: str) -> bytes:
        return service.http.get(f"/v1/jobs/{job['id']}/artifacts/{file}").raise_for_status().content

    layers = json.loads(artifact("plan.json"))["layers"]
    for pattern in case.shrinks:
        shrunk = [layer for layer in layers if fnmatchcase(layer["name"], pattern)]
        assert any(layer["channels_kept"] < layer["channels"] for layer in shrunk), (pattern, layers)

    report = json.loads(artifact("report.json"))
    assert report["structure"]["max_relative_error"] <= 1e-5
    session = onnxruntime.InferenceSession(artifact("model.onnx"), providers=["CPUExecutionProvider"])
    arrays = np.load(BytesIO(samples))
    for batch in (1, 5):
        feed = {value.name: arrays[value.name][:batch] for value in session.get_inputs()}
        answers = session.run(None, feed)[0]
        assert answers.shape[0] == batch
        assert np.isfinite(answers).all()
    if report["export_check"]["accuracy"] is not None:
        assert report["export_check"]["agrees_with_torch"] >= 99
