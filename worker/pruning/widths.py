"""Layers of a network as ONNX kernels of any width."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from worker.export.kernels import Kernel
from worker.graph.arguments import bind
from worker.graph.cost import Counts
from worker.graph.liveness import ALWAYS, Needs
from worker.graph.rules.convolution import prefers_whole_groups
from worker.graph.structure import Structure
from worker.graph.values import Value, Weight

__all__ = ["Count", "WideLayer", "wide_layers"]

aten = torch.ops.aten

_CONVOLUTIONS = frozenset(
    getattr(getattr(aten, f"conv{n}d"), form) for n in (1, 2, 3) for form in ("default", "padding")
)
_TRANSPOSED = frozenset({aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input})
_PRODUCTS = {
    aten.linear.default: ("input", "weight"),
    aten.matmul.default: ("self", "other"),
    aten.mm.default: ("self", "mat2"),
    aten.addmm.default: ("mat1", "mat2"),
}
"""Names of the two operands. The weight of `linear` has its outputs first, those of the others last."""


@dataclass(frozen=True)
class Count:
    """A number of channels, `base + per_group @ kept`, of at most `most`; `per_group` is (groups,)."""

    base: float
    per_group: Counts
    most: int

    def of(self, kept: Counts) -> Counts:
        """(…) for kept channels per group, (…, groups)."""
        return np.asarray(self.base + kept @ self.per_group)

    @property
    def varies(self) -> bool:
        return bool(self.per_group.any())


@dataclass(frozen=True)
class WideLayer:
    """A layer whose time depends on how many channels come in and go out. `kernel` is the whole one; `groups` are those
    of a convolution, and `whole_groups` says that it loses groups and not width."""

    needs: Needs
    incoming: Count
    outgoing: Count
    kernel: Kernel
    groups: int = 1
    whole_groups: bool = False

    def at(self, incoming: int, outgoing: int) -> Kernel:
        """The kernel with about this many channels on each side."""
        kernel, groups = self.kernel, self.groups
        if kernel.op in ("Gemm", "MatMul"):
            shape = (outgoing, incoming) if kernel.op == "Gemm" else (incoming, outgoing)
            return Kernel(kernel.op, (*kernel.input[:-1], incoming), shape, kernel.attributes)
        width = self.incoming.most // groups
        if self.whole_groups:
            multiple = self.outgoing.most // groups
            groups = max(1, incoming // width)
            outgoing = groups * multiple
        else:
            width = max(1, incoming // groups)
            outgoing = max(1, outgoing // groups) * groups
        incoming = groups * width
        weight = (incoming, outgoing) if kernel.op == "ConvTranspose" else (outgoing, width)
        attributes = tuple((name, groups if name == "group" else value) for name, value in kernel.attributes)
        return Kernel(kernel.op, (1, incoming, *kernel.input[2:]), (*weight, *kernel.weight[2:]), attributes)


def wide_layers(structure: Structure) -> Iterator[WideLayer]:
    """Every convolution and every product with a weight. What else there is in a network takes time, too."""
    for node in structure.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            arguments = bind(node)
            operands = [arguments.get(name) for name in _PRODUCTS.get(node.target, ("input", "weight"))]
            flows = [structure.flows.get(getattr(each, "name", "")) for each in (*operands, node)]
            entering, weight, leaving = flows
            if isinstance(entering, Value) and isinstance(weight, Weight) and isinstance(leaving, Value):
                needs = structure.liveness.nodes.get(node.name, ALWAYS)
                found = _Layer(structure, needs, entering, weight.shape, leaving)
                if node.target in _CONVOLUTIONS | _TRANSPOSED and len(entering.shape) == len(weight.shape):
                    yield from found.convolution(arguments, transposed=node.target in _TRANSPOSED)
                elif node.target in _PRODUCTS and len(weight.shape) == 2:
                    yield found.product(outputs_first=node.target is aten.linear.default)


@dataclass(frozen=True)
class _Layer:
    """A call of a layer: what enters, the shape of its weight, what leaves."""

    structure: Structure
    needs: Needs
    entering: Value
    weight: tuple[int, ...]
    leaving: Value

    def convolution(self, arguments: dict[str, Any], *, transposed: bool) -> Iterator[WideLayer]:
        groups = int(arguments.get("groups", 1))
        if transposed and groups > 1:
            return
        attributes = tuple(_attributes(arguments, len(self.weight) - 2, groups))
        shape = (1, *self.entering.shape[1:])
        yield WideLayer(
            self.needs,
            self._count(self.entering, 1),
            self._count(self.leaving, 1),
            Kernel("ConvTranspose" if transposed else "Conv", shape, self.weight, attributes),
            groups,
            groups > 1 and prefers_whole_groups(groups, self.entering.shape[1] // groups),
        )

    def product(self, *, outputs_first: bool) -> WideLayer:
        """As the exporter writes it: a linear layer on vectors is a Gemm, all else a MatMul."""
        last = len(self.entering.shape) - 1
        gemm = outputs_first and last == 1
        shape = self.weight if gemm or not outputs_first else self.weight[::-1]
        kernel = Kernel("Gemm" if gemm else "MatMul", self.entering.shape, shape, (("transB", 1),) if gemm else ())
        return WideLayer(self.needs, self._count(self.entering, last), self._count(self.leaving, last), kernel)

    def _count(self, value: Value, axis: int) -> Count:
        structure = self.structure
        sizes = np.array([group.channels for group in structure.groups], dtype=np.float64)
        per_group = np.zeros(len(sizes))
        if value.tracked == [axis]:
            groups = structure.group_of[value.labels.reshape(-1)]
            per_group = np.bincount(groups[groups >= 0], minlength=len(sizes)) / np.maximum(sizes, 1.0)
        return Count(value.shape[axis] - float(per_group @ sizes), per_group, value.shape[axis])


def _attributes(arguments: dict[str, Any], rank: int, groups: int) -> Iterator[tuple[str, int | str | tuple[int, ...]]]:
    padding = arguments.get("padding", 0)
    yield "group", groups
    yield "strides", _sizes(arguments.get("stride", 1), rank)
    yield "dilations", _sizes(arguments.get("dilation", 1), rank)
    if isinstance(padding, str):
        yield "auto_pad", {"same": "SAME_UPPER", "valid": "VALID"}[padding]
    else:
        yield "pads", 2 * _sizes(padding, rank)
    if any(_sizes(arguments.get("output_padding", 0), rank)):
        yield "output_padding", _sizes(arguments["output_padding"], rank)


def _sizes(given: object, rank: int) -> tuple[int, ...]:
    sizes = tuple(given) if isinstance(given, list | tuple) else (given,)
    return tuple(int(str(size)) for size in (sizes * rank if len(sizes) == 1 else sizes))
