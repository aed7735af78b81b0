"""Pooling over windows and over whole images."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.ops.windows import Window, read_window
from worker.formats.onnx.values import tensor_op

__all__ = ["average_pool", "global_average_pool", "global_max_pool", "max_pool"]

_MAX_POOL: dict[int, Any] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVG_POOL: dict[int, Any] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_GLOBAL_AVG_POOL: dict[int, Any] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


def _window(node: Node, x: Tensor) -> Window:
    kernel = node.integers("kernel_shape")
    if not kernel or len(kernel) > 3 or min(kernel) < 1:
        raise node.broken(f"has the kernel_shape {kernel}")
    return read_window(node, x, kernel)


def _fits(window: Window) -> bool:
    """torch pads at most half a window, and both sides alike."""
    return window.symmetric and all(pad <= k // 2 for pad, k in zip(window.before, window.kernel, strict=True))


@tensor_op("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.refuse("returns indices; only the pooled values are supported")
    window = _window(node, x)
    padding = window.before
    if not _fits(window):
        x, padding = window.pad(x, -math.inf), (0,) * len(window.kernel)
    result: Tensor = _MAX_POOL[len(window.kernel)](
        x, window.kernel, window.strides, padding, window.dilations, ceil_mode=bool(node.integer("ceil_mode", 0))
    )
    return result


@tensor_op("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    window = _window(node, x)
    if any(dilation != 1 for dilation in window.dilations):
        raise node.refuse("averages over a dilated window")
    count_include_pad, ceil_mode = bool(node.integer("count_include_pad", 0)), bool(node.integer("ceil_mode", 0))
    padding = window.before
    if not _fits(window):
        if ceil_mode:
            raise node.refuse(f"pads unevenly ({window.before} before, {window.after} after) and rounds sizes up")
        pool, none = _AVG_POOL[len(window.kernel)], (0,) * len(window.kernel)
        sums: Tensor = pool(window.pad(x, 0.0), window.kernel, window.strides, none)
        if count_include_pad:
            return sums
        share: Tensor = pool(window.pad(torch.ones(1, 1, *x.shape[2:]), 0.0), window.kernel, window.strides, none)
        return sums / share
    result: Tensor = _AVG_POOL[len(window.kernel)](
        x, window.kernel, window.strides, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    )
    return result


@tensor_op("GlobalAveragePool")
def global_average_pool(node: Node, x: Tensor) -> Tensor:
    if x.ndim - 2 not in _GLOBAL_AVG_POOL:
        raise node.refuse(f"pools an input of {x.ndim} dimensions")
    result: Tensor = _GLOBAL_AVG_POOL[x.ndim - 2](x, 1)
    return result


@tensor_op("GlobalMaxPool")
def global_max_pool(_: Node, x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)
