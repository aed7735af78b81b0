"""Networks of any number of nodes and any size, written as graphs: exporting them would take longer than what is
measured."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from worker.graph.network import Network, TensorSpec
from worker.graph.tensors import place

__all__ = ["DEEP", "LARGE"]

aten = torch.ops.aten
Size = int | str


class _Sketch:
    """A graph under construction. Weights are random, scaled so that values keep their size."""

    def __init__(self, *shape: Size) -> None:
        self._root, self._graph = nn.Module(), fx.Graph()
        self.input = self._graph.placeholder("x")
        self._shape = ("batch", *shape)
        self._generator = torch.Generator().manual_seed(0)

    def call(self, op: Any, *args: Any) -> fx.Node:
        return self._graph.call_function(op, args)

    def weight(self, name: str, *shape: int, gain: float = 1.0) -> fx.Node:
        fan_in = max(1, torch.Size(shape[1:]).numel())
        values = torch.empty(shape).normal_(0.0, gain * fan_in**-0.5, generator=self._generator)
        place(self._root, name, nn.Parameter(values))
        return self._graph.get_attr(name)

    def linear(self, name: str, x: fx.Node, inputs: int, outputs: int) -> fx.Node:
        weight, bias = self.weight(f"{name}.weight", outputs, inputs), self.weight(f"{name}.bias", outputs)
        return self.call(aten.linear.default, x, weight, bias)

    def conv(self, name: str, x: fx.Node, inputs: int, outputs: int, size: int = 3, gain: float = 1.0) -> fx.Node:
        weight = self.weight(f"{name}.weight", outputs, inputs, size, size, gain=gain)
        bias = self.weight(f"{name}.bias", outputs, gain=gain)
        return self.call(aten.conv2d.default, x, weight, bias, [1, 1], [size // 2, size // 2])

    def relu(self, x: fx.Node) -> fx.Node:
        return self.call(aten.relu.default, x)

    def norm(self, name: str, x: fx.Node, width: int) -> fx.Node:
        place(self._root, f"{name}.weight", nn.Parameter(torch.ones(width)))
        scale, shift = self._graph.get_attr(f"{name}.weight"), self.weight(f"{name}.bias", width)
        return self.call(aten.layer_norm.default, x, [width], scale, shift)

    def attention(self, name: str, x: fx.Node, width: int, heads: int, length: int) -> fx.Node:
        q, k, v = (
            self.call(
                aten.transpose.int,
                self.call(
                    aten.view.default,
                    self.linear(f"{name}.{part}", x, width, width),
                    [-1, length, heads, width // heads],
                ),
                1,
                2,
            )
            for part in "qkv"
        )
        mixed = self.call(aten.transpose.int, self.call(aten.scaled_dot_product_attention.default, q, k, v), 1, 2)
        joined = self.call(aten.reshape.default, mixed, [-1, length, width])
        return self.linear(f"{name}.out", joined, width, width)

    def finish(self, x: fx.Node, outputs: int) -> Network:
        self._graph.output((x,))
        self._graph.lint()
        module = fx.GraphModule(self._root, self._graph, class_name="Network")
        answer = TensorSpec(x.name, ("batch", outputs), torch.float32)
        return Network(module, (TensorSpec("x", self._shape, torch.float32),), (answer,), "pt2")


def residual(nodes: int, width: int = 16) -> Network:
    """Convolutions in blocks of two with a skip connection around each. What a block adds gets smaller the more there
    are: sums of a thousand would overflow."""
    net = _Sketch(3, 8, 8)
    x = net.conv("stem", net.input, 3, width)
    for block in range(nodes // 9):
        inner = net.relu(net.conv(f"blocks.{block}.a", x, width, width))
        branch = net.conv(f"blocks.{block}.b", inner, width, width, gain=nodes**-0.5)
        x = net.relu(net.call(aten.add.Tensor, x, branch))
    return net.finish(net.linear("head", net.call(aten.mean.dim, x, [2, 3]), width, 10), 10)


def transformer(nodes: int, width: int = 32, heads: int = 4, length: int = 8, hidden: int = 64) -> Network:
    """Blocks of attention and feed-forward, normalised before each."""
    net = _Sketch(length, width)
    x = net.linear("embed", net.input, width, width)
    for block in range(nodes // 36):
        name = f"blocks.{block}"
        x = net.call(
            aten.add.Tensor, x, net.attention(f"{name}.attn", net.norm(f"{name}.ln1", x, width), width, heads, length)
        )
        inner = net.call(aten.gelu.default, net.linear(f"{name}.up", net.norm(f"{name}.ln2", x, width), width, hidden))
        x = net.call(aten.add.Tensor, x, net.linear(f"{name}.down", inner, hidden, width))
    return net.finish(net.linear("head", net.call(aten.mean.dim, x, [1]), width, 10), 10)


def concatenating(nodes: int, growth: int = 16, layers: int = 12) -> Network:
    """Dense blocks: each layer reads all the earlier ones of its block, joined."""
    net, width = _Sketch(3, 8, 8), 2 * growth
    x = net.conv("stem", net.input, 3, width)
    for block in range(nodes // (layers * 5 + 4)):
        seen, wide = [x], width
        for layer in range(layers):
            joined = net.call(aten.cat.default, list(seen), 1)
            seen.append(net.relu(net.conv(f"blocks.{block}.{layer}", joined, wide, growth)))
            wide += growth
        x = net.conv(f"blocks.{block}.out", net.call(aten.cat.default, list(seen), 1), wide, width, 1)
    return net.finish(net.linear("head", net.call(aten.mean.dim, x, [2, 3]), width, 10), 10)


def large_mlp(gigabytes: float) -> Network:
    """Eight square layers."""
    width = round((gigabytes * 2**30 / 4 / 8) ** 0.5) // 64 * 64
    net = _Sketch(256)
    x = net.relu(net.linear("first", net.input, 256, width))
    for layer in range(8):
        x = net.relu(net.linear(f"layers.{layer}", x, width, width))
    return net.finish(net.linear("head", x, width, 10), 10)


def large_transformer(gigabytes: float) -> Network:
    """A transformer of width 1024: 12.6 million parameters in each block."""
    return transformer(36 * round(gigabytes * 2**30 / 4 / 12.6e6), 1024, 16, 16, 4096)


def large_convnet(gigabytes: float) -> Network:
    """Residual blocks of 3x3 convolutions of width 1024: 18.9 million parameters in each."""
    return residual(9 * round(gigabytes * 2**30 / 4 / 18.9e6), 1024)


DEEP: dict[str, Callable[[int], Network]] = {
    "residual convnet": residual,
    "transformer": transformer,
    "concatenating convnet": concatenating,
}
LARGE: dict[str, Callable[[float], Network]] = {
    "mlp": large_mlp,
    "transformer": large_transformer,
    "convnet": large_convnet,
}
