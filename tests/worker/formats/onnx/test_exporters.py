"""Networks that both exporters of torch wrote come back as they were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from tests.worker.formats.onnx.reading import LIMITS, export_dynamo, export_torchscript, warmed_up
from tests.worker.formats.onnx.small_networks import NETWORKS
from tests.worker.graph.exact import cut, draw
from worker.formats.onnx import read_onnx
from worker.formats.pt2 import read_pt2
from worker.graph.allowlist import ATEN_OVERLOADS, OPERATOR_FUNCTIONS
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze

Export = Callable[[nn.Module, Path, torch.Tensor], None]

EXPORTERS: dict[str, Export] = {
    "torchscript-13": lambda module, path, x: export_torchscript(module, path, x, 13),
    "torchscript-17": lambda module, path, x: export_torchscript(module, path, x, 17),
    "torchscript-17-unfolded": lambda module, path, x: export_torchscript(
        module, path, x, 17, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE
    ),
    "torchscript-17-one-sample": lambda module, path, x: export_torchscript(module, path, x[:1], 17, dynamic_axes=None),
    "dynamo-20": lambda module, path, x: export_dynamo(module, path, x, 20),
}


def check_read(module: nn.Module, path: Path) -> None:
    network = read_onnx(path, LIMITS)
    assert network.source == "onnx"
    assert [(spec.name, spec.shape) for spec in network.inputs] == [("x", ("batch", 3, 12, 12))]
    assert [spec.name for spec in network.outputs] == ["y"]
    for batch in (1, 5):
        x = torch.randn(batch, 3, 12, 12)
        with torch.no_grad():
            expected, (answer,) = module(x), network(x)
        assert answer.shape == expected.shape
        assert (answer - expected).abs().max() <= 1e-5 * expected.abs().max()
    for node in network.module.graph.nodes:
        if node.op == "call_function":
            assert str(node.target) in ATEN_OVERLOADS or node.target in OPERATOR_FUNCTIONS.values()
            assert "sym_size" not in str(node.target)  # sizes are numbers, so that pruning sees what a reshape does


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_network_computes_the_same_after_export_and_import(name: str, exporter: str, tmp_path: Path) -> None:
    module = warmed_up(NETWORKS[name]())
    path = tmp_path / "model.onnx"
    EXPORTERS[exporter](module, path, torch.randn(2, 3, 12, 12))
    check_read(module, path)


@pytest.mark.parametrize("name", ["resnet-padded", "convnext"])
def test_dynamo_export_of_another_opset_computes_the_same(name: str, tmp_path: Path) -> None:
    module = warmed_up(NETWORKS[name]())
    path = tmp_path / "model.onnx"
    export_dynamo(module, path, torch.randn(2, 3, 12, 12), 18)
    check_read(module, path)


def test_statistics_that_a_tile_made_for_every_sample_are_read(tmp_path: Path) -> None:
    """So the newer exporter writes an instance norm with running statistics."""
    norm = nn.InstanceNorm2d(8, track_running_stats=True)
    module = warmed_up(nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(800, 4)))
    path = tmp_path / "model.onnx"
    export_dynamo(module, path, torch.randn(2, 3, 12, 12), 20)
    network = read_onnx(path, LIMITS)
    x = torch.randn(5, 3, 12, 12)
    with torch.no_grad():
        assert torch.allclose(network(x)[0], module(x), atol=1e-5)
    # There the channels of all samples lie side by side.
    structure = analyze(network, example_inputs(network))
    assert structure.merges_batch(network)
    assert cut(network, structure, draw(structure, 0.5, 0), (x,)).masked < 1e-5


def test_parameters_keep_their_names_and_batch_norm_its_statistics(tmp_path: Path) -> None:
    module = warmed_up(NETWORKS["densenet"]())
    path = tmp_path / "model.onnx"
    export_torchscript(module, path, torch.randn(2, 3, 12, 12), 17)
    network = read_onnx(path, LIMITS)
    assert {name for name, _ in network.parameters()} == {name for name, _ in module.named_parameters()}
    assert dict(network.module.named_buffers())["1.norm.running_var"].equal(module[1].norm.running_var)


def test_folded_weights_are_named_after_their_layers(tmp_path: Path) -> None:
    """The TorchScript exporter calls them onnx::Conv_193, the other one writes conv.weight_bias."""
    module = warmed_up(NETWORKS["resnet-convolved"]())
    expected = {f"stem.0.{role}" for role in ("weight", "bias")} | {"layer1.1.shortcut.0.weight", "fc.bias"}
    for number, exporter in enumerate(("torchscript-17", "dynamo-20")):
        path = tmp_path / f"{number}.onnx"
        EXPORTERS[exporter](module, path, torch.randn(2, 3, 12, 12))
        names = {name for name, _ in read_onnx(path, LIMITS).parameters()}
        assert expected <= names
        assert not [name for name in names if "onnx" in name or "val_" in name]


def test_trained_network_has_the_accuracy_that_onnxruntime_gives_it(shared_data: Path) -> None:
    path = shared_data / "models" / "resnet20.onnx"
    network, twin = read_onnx(path, LIMITS), read_pt2(shared_data / "models" / "resnet20.pt2", LIMITS)
    data = np.load(shared_data / "cifar10-dev.npz")
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    images = (data["x_test"].astype(np.float32) / 255 - mean) / std
    x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    expected = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x.numpy()})[0]
    with torch.no_grad():
        answers = network(x)[0].numpy()
        assert (twin(x[:500])[0].numpy().argmax(1) == answers[:500].argmax(1)).all()
    assert (answers.argmax(1) == expected.argmax(1)).all()
    assert (answers.argmax(1) == data["y_test"]).mean() == pytest.approx(0.9175)
