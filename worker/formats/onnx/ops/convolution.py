"""Conv and ConvTranspose in one, two and three dimensions."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.ops.windows import read_window
from worker.formats.onnx.values import tensor_op

__all__ = ["conv", "conv_transpose"]

_CONV: dict[int, Any] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_CONV_TRANSPOSE: dict[int, Any] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@tensor_op("Conv")
def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    spatial = weight.ndim - 2
    if spatial not in _CONV:
        raise node.refuse(f"convolves over {spatial} axes; one to three are supported")
    window = read_window(node, x, weight.shape[2:])
    padding = window.before
    if not window.symmetric:
        x, padding = window.pad(x, 0.0), (0,) * spatial
    result: Tensor = _CONV[spatial](
        x, weight, bias, window.strides, padding, window.dilations, node.integer("group", 1)
    )
    return result


@tensor_op("ConvTranspose")
def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    spatial = weight.ndim - 2
    if spatial not in _CONV_TRANSPOSE:
        raise node.refuse(f"convolves over {spatial} axes; one to three are supported")
    if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or node.integers("output_shape", None) is not None:
        raise node.refuse("computes its padding from an output size; export with explicit pads")
    window = read_window(node, x, weight.shape[2:])
    if not window.symmetric:
        raise node.refuse(f"pads unevenly: {window.before} before, {window.after} after")
    extra = node.integers("output_padding", [0] * spatial)
    result: Tensor = _CONV_TRANSPOSE[spatial](
        x, weight, bias, window.strides, window.before, extra, node.integer("group", 1), window.dilations
    )
    return result
