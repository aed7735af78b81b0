"""Windows that slide over an image: strides, dilations and the four ways ONNX has to pad."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node

__all__ = ["Window", "read_window"]


@dataclass(frozen=True)
class Window:
    """`before` and `after` are the padding of each spatial axis; they differ where one side needs more."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def symmetric(self) -> bool:
        return self.before == self.after

    def pad(self, x: Tensor, value: float) -> Tensor:
        """`x` with the padding written out, for ops of torch that pad both sides alike."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return functional.pad(x, tuple(chain.from_iterable(pairs)), value=value)


def read_window(node: Node, x: Tensor, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pooling `node` over `x` (N, C, spatial…)."""
    spatial = len(kernel)
    if x.ndim != spatial + 2:
        raise node.broken(f"slides a {spatial}-d window over an input of {x.ndim} dimensions")
    strides = _per_axis(node, "strides", spatial)
    dilations = _per_axis(node, "dilations", spatial)
    auto_pad = node.text("auto_pad", "NOTSET")
    if auto_pad == "NOTSET":
        pads = node.integers("pads", [0] * 2 * spatial) or []
        if len(pads) != 2 * spatial or min(pads) < 0:
            raise node.broken(f"has the pads {pads} for {spatial} spatial axes")
        return Window(tuple(kernel), strides, dilations, tuple(pads[:spatial]), tuple(pads[spatial:]))
    if auto_pad == "VALID":
        return Window(tuple(kernel), strides, dilations, (0,) * spatial, (0,) * spatial)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.broken(f"has the unknown auto_pad {auto_pad!r}")
    totals = [
        max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    before, after = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return Window(tuple(kernel), strides, dilations, before, after)


def _per_axis(node: Node, name: str, spatial: int) -> tuple[int, ...]:
    values = node.integers(name, [1] * spatial) or []
    if len(values) != spatial or min(values) < 1:
        raise node.broken(f"has the {name} {values} for {spatial} spatial axes")
    return tuple(values)
