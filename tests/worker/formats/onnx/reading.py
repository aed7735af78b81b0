"""Files to read, and what ONNX Runtime answers to them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnxruntime as ort
import torch
from torch import nn

from worker.formats.onnx import read_onnx
from worker.graph.network import Network
from worker.order import ChildLimits

__all__ = ["LIMITS", "export_dynamo", "export_torchscript", "onnxruntime_answers", "parsed", "read_proto", "warmed_up"]

LIMITS = ChildLimits(
    memory_bytes=2**31,
    cpu_seconds=60,
    file_bytes=2**28,
    dataset_bytes=2**28,
    model_nodes=1000,
    threads=1,
    device="cpu",
)


def parsed(body: str, opset: int = 20) -> onnx.ModelProto:
    """A model from ONNX's text form: `agraph (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) }`."""
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {body}')


def read_proto(model: onnx.ModelProto, folder: Path, limits: ChildLimits = LIMITS) -> Network:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_onnx(path, limits)


def onnxruntime_answers(model: onnx.ModelProto, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def warmed_up(module: nn.Module) -> nn.Module:
    """In eval mode, with statistics and scales of batch norm that are not those of a fresh one."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    return module.eval()


def export_torchscript(module: nn.Module, path: Path, example: torch.Tensor, opset: int, **options: Any) -> None:
    axes = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is deprecated; its files are all around
        torch.onnx.export(
            module, (example,), path, dynamo=False, opset_version=opset, input_names=["x"], output_names=["y"],
            **{**axes, **options},
        )  # fmt: skip


def export_dynamo(module: nn.Module, path: Path, example: torch.Tensor, opset: int, **options: Any) -> None:
    shapes = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # copy.deepcopy of an exported program warns about torch's own code
        torch.onnx.export(
            module, (example,), path, dynamo=True, opset_version=opset, input_names=["x"], output_names=["y"],
            external_data=False, verbose=False, **{**shapes, **options},
        )  # fmt: skip


def random_images(*shape: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
