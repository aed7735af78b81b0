"""What is in the files that are written, and what is not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.worker.formats.onnx.reading import LIMITS, warmed_up
from tests.worker.formats.onnx.small_networks import NETWORKS
from tests.worker.graph.test_normalization import traced
from worker.errors import ExportMismatch
from worker.export.onnx import write_onnx
from worker.export.verify import verify_onnx
from worker.formats.onnx import read_onnx
from worker.graph.network import Network


def network(name: str) -> Network:
    return traced(warmed_up(NETWORKS[name]()))


@pytest.mark.parametrize("name", ["resnet-padded", "mobilenet", "densenet", "shufflenet", "vgg"])
def test_file_answers_like_the_network_and_reads_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = network(name)
    write_onnx(written, path)
    check = verify_onnx(path, written, None)
    assert check.opset == 20
    assert check.max_rel_error < 1e-5
    assert check.predictions is None
    again = read_onnx(path, LIMITS)
    x = torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(again(x)[0], written(x)[0], rtol=1e-4, atol=1e-5)
    named = {f"{name.rpartition('.')[0]}.{role}" for name, _ in written.parameters() for role in ("weight", "bias")}
    # The exporter reshapes the slopes of PReLU and forgets their name.
    assert {name for name, _ in again.parameters() if not name.startswith("prelu")} <= named


def test_file_names_inputs_outputs_batch_and_weights_as_the_network_does(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = network("resnet-convolved")
    write_onnx(written, path)
    graph = onnx.load(path).graph
    assert [value.name for value in graph.input] == [spec.name for spec in written.inputs]
    assert [value.name for value in graph.output] == [spec.name for spec in written.outputs]
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    names = {tensor.name for tensor in graph.initializer}
    assert {"stem.0.weight", "stem.0.bias", "layer1.1.shortcut.0.weight", "fc.weight", "fc.bias"} <= names
    assert not [node for node in graph.node if node.op_type == "BatchNormalization"]


def test_file_tells_nothing_about_the_machine_or_the_exporter(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(network("resnet-padded"), path)
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("secateur", "", "")
    parts = [
        model,
        model.graph,
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.value_info,
    ]
    assert not any(part.doc_string or part.metadata_props for part in parts)
    content = path.read_bytes()
    for trace in (b".py", b"torch", b"File ", str(Path.home()).encode(), str(tmp_path).encode(), b"site-packages"):
        assert trace not in content


def test_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    written = network("shufflenet")
    for name in ("a", "b"):
        write_onnx(written, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_exporter_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_onnx(network("vgg"), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_changed_weight_is_a_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    written = traced(nn.Sequential(nn.Flatten(), nn.Linear(432, 5)).eval())
    write_onnx(written, path)
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "1.bias")
    bias = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(bias + np.float32(0.1), "1.bias"))
    onnx.save(model, path)
    with pytest.raises(ExportMismatch, match=r"differs from torch by 0\.1"):
        verify_onnx(path, written, None)
