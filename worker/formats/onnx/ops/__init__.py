"""What each ONNX op means in torch, one file per family. Importing this package fills `values.TENSOR_OPS`."""

from worker.formats.onnx.ops import (
    convolution,
    elementwise,
    indexing,
    layout,
    linear,
    normalization,
    pooling,
    reduction,
    resize,
)

__all__ = [
    "convolution",
    "elementwise",
    "indexing",
    "layout",
    "linear",
    "normalization",
    "pooling",
    "reduction",
    "resize",
]
