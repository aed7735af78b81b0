"""Shapes of every value, from one forward pass, and random inputs to run it on.

A pass for shapes leaves out the arithmetic of products and norms (`worker.graph.stand_ins`): it was most of the time of
an analysis. A pass with fake tensors takes several times as long as one with numbers
(docs/decisions/0004-labels-instead-of-a-dependency-graph.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from worker.errors import UnsupportedModel
from worker.graph.network import Network, TensorSpec
from worker.graph.stand_ins import stand_in
from worker.graph.tensors import device_of, tensors_of

__all__ = ["UNKNOWN_SIZE", "Pass", "Recorded", "example_inputs", "example_shape", "forward", "record_shapes"]

Recorded = torch.Size | int | float | bool | tuple[Any, ...] | None
"""What a node made: the shape of a tensor, a number as it is, or a tuple of these."""

UNKNOWN_SIZE = 16
"""Stands for a free dimension other than the batch, where it is not known what the model was exported with: long enough
to be told from channels of one, short to compute."""


@dataclass(frozen=True)
class Pass:
    """One forward pass: what every node made, by its name, and what the network answered."""

    recorded: dict[str, Recorded]
    answers: tuple[Tensor, ...]


def _describe(result: Any) -> Recorded:
    if isinstance(result, Tensor):
        return result.shape
    if isinstance(result, list | tuple):
        return tuple(_describe(item) for item in result)
    return result if isinstance(result, int | float | bool) else None


def record_shapes(network: Network, example: tuple[Tensor, ...]) -> dict[str, Recorded]:
    """What every node of the graph makes when the network runs on `example`, by node name.

    Raises UnsupportedModel when the graph does not run.
    """
    run = _Run(network, stand_in)
    try:
        with torch.no_grad():
            run(example)
    except Exception:  # noqa: BLE001 -- a real pass says what is wrong, or that nothing is
        return forward(network, example).recorded
    return run.recorded


def forward(network: Network, example: tuple[Tensor, ...]) -> Pass:
    """Run the network on `example`, node by node. Raises UnsupportedModel that names the node that does not run."""
    run = _Run(network)
    try:
        with torch.no_grad():
            answers = run(example)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        shapes = ", ".join(f"{spec.name} {tuple(tensor.shape)}" for spec, tensor in _paired(network, example))
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        at = "" if run.at is None else f"{run.at.name} ({run.at.target}): "
        raise UnsupportedModel(f"the model does not run on an input of {shapes}: {at}{reason}") from error
    return Pass(run.recorded, answers)


Replacement = Callable[[Any, tuple[Any, ...]], Tensor | None]
"""Of an op and its arguments: what is taken for its result, or None where the op is to run."""


class _Run:
    """One pass. A plain loop: `fx.Interpreter` was measured to take as long for a node as a small convolution."""

    def __init__(
        self, network: Network, replace: Callable[[Any, tuple[Any, ...]], Tensor | None] | None = None
    ) -> None:
        """`replace(target, arguments)` may answer in place of an op; None where the op is to run."""
        self._replace = replace
        self.recorded: dict[str, Recorded] = {}
        self.at: fx.Node | None = None
        self._graph, self._tensors = network.module.graph, tensors_of(network.module)
        self._values: dict[fx.Node, Any] = {}

    def __call__(self, example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        inputs, values = iter(example), self._values
        done = _last_uses(self._graph)
        for node in self._graph.nodes:
            self.at = node
            if node.op == "call_function":
                result = self._call(node)
            elif node.op == "get_attr":
                result = self._tensors[str(node.target)]
            elif node.op == "placeholder":
                result = next(inputs, None)
            else:
                result = self._given(node.args[0])
            values[node] = result
            self.recorded[node.name] = _describe(result)
            for source in done.get(node, ()):
                del values[source]
        return result  # type: ignore[no-any-return]  # the last node is the output

    def _call(self, node: fx.Node) -> Any:
        args, named = tuple(map(self._given, node.args)), self._named(node)
        if self._replace is not None and not named:
            result = self._replace(node.target, args)
            if result is not None:
                return result
        assert callable(node.target)
        return node.target(*args, **named)

    def _given(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self._values[argument]
        if isinstance(argument, tuple | list):
            return type(argument)(map(self._given, argument)) if argument else argument
        return argument

    def _named(self, node: fx.Node) -> dict[str, Any]:
        return {name: self._given(argument) for name, argument in node.kwargs.items()}


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """Values that are not needed any more, by the node after which they are not."""
    seen: set[fx.Node] = set()
    done: dict[fx.Node, list[fx.Node]] = {}
    for node in reversed(graph.nodes):
        for source in (node, *node.all_input_nodes):
            if source not in seen:
                seen.add(source)
                done.setdefault(node, []).append(source)
    return done


def _paired(network: Network, example: tuple[Tensor, ...]) -> list[tuple[TensorSpec, Tensor]]:
    return list(zip(network.inputs, example, strict=False))


def example_inputs(network: Network, batch: int = 1, seed: int = 0) -> tuple[Tensor, ...]:
    """Random tensors that fit `network.inputs`, on the device of its parameters.

    Floats are normal, integers 0 or 1. Shapes are those of `example_shape`.
    """
    generator = torch.Generator().manual_seed(seed)
    device = device_of(network)
    return tuple(_random(spec, batch, generator).to(device) for spec in network.inputs)


def example_shape(spec: TensorSpec, batch: int = 1) -> tuple[int, ...]:
    """`spec.shape` in numbers: a free first dimension is the batch, others are as the model was exported with."""
    known = spec.traced or (UNKNOWN_SIZE,) * len(spec.shape)
    return tuple(
        size if isinstance(size, int) else (batch if position == 0 else known[position])
        for position, size in enumerate(spec.shape)
    )


def _random(spec: TensorSpec, batch: int, generator: torch.Generator) -> Tensor:
    shape = example_shape(spec, batch)
    if spec.dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(spec.dtype)
    # Class numbers and tokens: 0 and 1 index any table.
    return torch.randint(0, 2, shape, generator=generator).to(spec.dtype)
