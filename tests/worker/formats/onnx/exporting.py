"""Examples of the zoo as ONNX files, from both exporters of torch."""

import io
import warnings
from typing import Any

import onnx
import torch

from tests.worker.zoo_example import Example

__all__ = ["EXPORTERS", "export_example"]

EXPORTERS = ("torchscript-13", "torchscript-17", "dynamo-18", "dynamo-20", "dynamo-21", "dynamo-23")
"""`exporter-opset`: the older exporter writes opset 13 to 20, the newer one 18 and later."""


def export_example(example: Example, exporter: str) -> onnx.ModelProto:
    """`exporter` is an item of `EXPORTERS`. Raises whatever torch raises for a network that it cannot export so."""
    which, _, opset = exporter.partition("-")
    options: dict[str, Any] = {"opset_version": int(opset), "input_names": list(example.input_names)}
    if which == "dynamo":
        options |= {"dynamo": True, "dynamic_shapes": example.dynamic_shapes, "verbose": False, "external_data": False}
    else:
        axes = {
            name: {axis: dim.__name__ for axis, dim in shapes.items()}
            for name, shapes in zip(example.input_names, example.dynamic_shapes, strict=True)
        }
        options |= {"dynamo": False, "dynamic_axes": axes}
    target = io.BytesIO()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused op has no counterpart in ONNX
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the older exporter is deprecated, the newer one warns about torch's own code
        try:
            made = torch.onnx.export(
                example.module, example.inputs, *(() if which == "dynamo" else (target,)), **options
            )
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
    return made.model_proto if made is not None else onnx.ModelProto.FromString(target.getvalue())
