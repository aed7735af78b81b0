"""What each ONNX op means in torch, one file per family. Importing this package fills `values.TENSOR_OPS`."""

from worker.formats.onnx.ops import (
    attention,
    convolution,
    creation,
    elementwise,
    indexing,
    layout,
    linear,
    normalization,
    pooling,
    recurrent,
    reduction,
    resize,
    scattering,
)

__all__ = [
    "attention",
    "convolution",
    "creation",
    "elementwise",
    "indexing",
    "layout",
    "linear",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "resize",
    "scattering",
]
