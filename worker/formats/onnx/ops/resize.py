"""Resizing of images, where torch computes the same pixels."""

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import HostArray, sizes, tensor_op

__all__ = ["resize", "upsample"]

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@tensor_op("Upsample")
def upsample(node: Node, x: Tensor, scales: HostArray) -> Tensor:
    """The predecessor of Resize, with its "asymmetric" coordinates."""
    return _resize(node, x, _scaled(node, x, sizes(node, scales)), "asymmetric", "floor")


@tensor_op("Resize")
def resize(
    node: Node,
    x: Tensor,
    roi: HostArray | None = None,
    scales: HostArray | None = None,
    target: HostArray | None = None,
) -> Tensor:
    if node.opset < 11:  # Resize-10 has (x, scales) and the coordinates of Upsample
        assert roi is not None
        return _resize(node, x, _scaled(node, x, sizes(node, roi)), "asymmetric", "floor")
    if node.integers("axes", None) is not None or node.integer("antialias", 0):
        raise node.refuse("uses axes or antialias; export a plain interpolation")
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise node.refuse("keeps the aspect ratio")
    if target is not None and target.size:
        wanted = sizes(node, target)
    elif scales is not None:
        wanted = _scaled(node, x, sizes(node, scales))
    else:
        raise node.broken("has neither scales nor sizes")
    coordinates = node.text("coordinate_transformation_mode", "half_pixel")
    return _resize(node, x, wanted, coordinates, node.text("nearest_mode", "round_prefer_floor"))


def _scaled(node: Node, x: Tensor, scales: list[Any]) -> list[Any]:
    if len(scales) != x.ndim or scales[:2] != [1.0, 1.0]:
        raise node.refuse(f"scales its {x.ndim} dimensions by {scales}; only spatial ones may change")
    wanted = [size * scale for size, scale in zip(x.shape[2:], scales[2:], strict=True)]
    if any(size != math.floor(size) or size < 1 for size in wanted):
        raise node.refuse(f"scales {list(x.shape[2:])} by {scales[2:]}, which gives no whole sizes")
    return [*x.shape[:2], *(int(size) for size in wanted)]


def _resize(node: Node, x: Tensor, wanted: list[Any], coordinates: str, rounding: str) -> Tensor:
    if len(wanted) != x.ndim or not all(isinstance(size, int) and size > 0 for size in wanted[2:]):
        raise node.refuse(f"resizes to {wanted}; the spatial sizes must be constant")
    if isinstance(wanted[1], int) and wanted[1] != x.shape[1]:
        raise node.refuse("resizes the channels")
    mode = node.text("mode", "nearest")
    to = list(wanted[2:])
    if mode == "nearest":
        enlarged = all(size % old == 0 for size, old in zip(to, x.shape[2:], strict=True))
        half_pixel = coordinates in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer")
        # Enlarging by a whole factor repeats pixels, with half-pixel centres as with torch's asymmetric ones.
        if (coordinates == "asymmetric" and rounding == "floor") or (enlarged and half_pixel):
            return functional.interpolate(x, size=to, mode="nearest")
    elif (
        mode == "linear" and x.ndim in _LINEAR and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners")
    ):
        return functional.interpolate(x, size=to, mode=_LINEAR[x.ndim], align_corners=coordinates == "align_corners")
    raise node.refuse(f"interpolates in the mode {mode!r} with {coordinates!r} coordinates and {rounding!r} rounding")
