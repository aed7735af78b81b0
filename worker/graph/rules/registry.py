"""How a rule is written and found.

A *rule* says how labels pass through an op; a *rewrite* says which constant arguments change when entries go. To add an
op: write one function in the module of its family, under `@rule("name.overload")`, and, where the op has sizes among
its arguments, one under `@rewrite(...)` beside it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from worker.graph.propagation import Block, Propagation
from worker.graph.shapes import Recorded
from worker.graph.values import Flow, Labels, Value, Weight, count_kept, kept_along

__all__ = ["Op", "Removal", "Rewrite", "Rule", "find_rewrite", "find_rule", "rewrite", "rule"]


@dataclass(frozen=True)
class Op:
    """One call, as its rule sees it: arguments by schema name, labels of what came in, shapes of what goes out."""

    node: fx.Node
    arguments: dict[str, Any]
    flows: dict[fx.Node, Flow]
    recorded: dict[str, Recorded]
    ledger: Propagation

    @property
    def name(self) -> str:
        return str(self.node.target)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(self._recorded_shape(self.recorded[self.node.name]))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the results of an op that makes several."""
        made = self.recorded[self.node.name]
        assert isinstance(made, tuple)
        return [tuple(self._recorded_shape(shape)) for shape in made]

    @property
    def makes_several(self) -> bool:
        return isinstance(self.recorded[self.node.name], tuple) and not isinstance(
            self.recorded[self.node.name], torch.Size
        )

    def constant(self, name: str, default: Any = None) -> Any:
        """An argument that is no tensor; sizes computed in the graph are given as the numbers they were."""
        return self._number(self.arguments.get(name, default))

    def flow(self, name: str) -> Flow:
        argument = self.arguments.get(name)
        return self.flows.get(argument) if isinstance(argument, fx.Node) else None

    def value(self, name: str) -> Value:
        """Labels of a tensor argument. A parameter that is used as an activation stays as it is."""
        return self.as_value(self.flow(name))

    def as_value(self, flow: Flow) -> Value:
        if isinstance(flow, Weight):
            self.ledger.pin_weight(flow)
            return Value.plain(flow.shape)
        assert isinstance(flow, Value), f"{self.name}: a tensor is expected"
        return flow

    def weight(self, name: str) -> Weight | None:
        """A tensor argument that is still a parameter, else None."""
        flow = self.flow(name)
        return flow if isinstance(flow, Weight) else None

    def without_axis(self, weight: Weight, axis: int) -> Weight:
        """The parameter after an op that picks or mixes entries along `axis`, so that they have to stay there, and
        leaves the other axes as they are."""
        self.ledger.hold(weight, axis)
        axes = [None if position == axis else source for position, source in enumerate(weight.axes)]
        return weight.viewed(self.shape, axes)

    def plain(self, flow: Flow) -> Value:
        """A tensor argument of which nothing can be removed, like a table of positions."""
        value = self.as_value(flow)
        self.ledger.pin(value.labels)
        return Value.plain(value.shape)

    def kept(self, value: Value, axes: Iterable[int]) -> Value:
        """`value` once `axes` keep their size; the op is named where that pins channels."""
        for axis in axes:
            if value.tracked == [axis]:
                self.block(value.labels, "it needs all entries along the axis of the channels")
            value = self.ledger.freeze(value, axis)
        return value

    def operands(self) -> list[Flow]:
        """All tensors among the arguments, those in lists too."""
        return [self.flows.get(node) for node in self.node.all_input_nodes]

    def unknown(self, why: str = "this op has no rule yet; what it touches keeps its size") -> Flow:
        """Pin everything that comes in, and make a result of which nothing can be removed."""
        touched, weights = [np.zeros(0, dtype=np.int64)], []
        for flow in _leaves(self.operands()):
            if isinstance(flow, Weight):
                self.ledger.pin_weight(flow)
                weights.append(flow.name)
            else:
                touched.append(flow.labels.reshape(-1))
        labels = np.concatenate(touched)
        self.ledger.pin(labels)
        self.ledger.blocks.append(Block(self.name, labels, why, tuple(weights)))
        return _plain(self.recorded[self.node.name])

    def block(self, labels: Labels, why: str) -> None:
        """Pin `labels` and say why."""
        if labels.any():
            self.ledger.pin(labels)
            self.ledger.blocks.append(Block(self.name, labels.reshape(-1), why))

    def _number(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self.recorded[argument.name]
        if isinstance(argument, list | tuple):
            return [self._number(item) for item in argument]
        return argument

    @staticmethod
    def _recorded_shape(recorded: Recorded) -> torch.Size:
        assert isinstance(recorded, torch.Size), "a tensor is expected"
        return recorded


def _leaves(flows: list[Flow]) -> list[Value | Weight]:
    leaves: list[Value | Weight] = []
    for flow in flows:
        if isinstance(flow, tuple):
            leaves.extend(_leaves(list(flow)))
        elif flow is not None:
            leaves.append(flow)
    return leaves


def _plain(recorded: Recorded) -> Flow:
    if isinstance(recorded, torch.Size):
        return Value.plain(tuple(recorded))
    if isinstance(recorded, tuple):
        return tuple(_plain(item) for item in recorded)
    return None


@dataclass(frozen=True)
class Removal:
    """One call, as its rewrite sees it: what came in, what goes out, and what of it is kept."""

    node: fx.Node
    arguments: dict[str, Any]
    flows: dict[str, Flow]
    """Component labels by node name."""
    keep: npt.NDArray[np.bool_]
    claims: Mapping[str, tuple[Labels, ...]]
    """Component labels of parameters by name."""
    resize: Callable[[Any, int], Any]
    """`resize(argument, size)`: the argument that makes a size computed in the graph come out as `size`."""

    def value(self, name: str) -> Value | None:
        argument = self.arguments.get(name)
        flow = self.flows.get(argument.name) if isinstance(argument, fx.Node) else None
        return flow if isinstance(flow, Value) else None

    @property
    def result(self) -> Flow:
        return self.flows.get(self.node.name)

    def sizes(self) -> dict[int, int]:
        """Axes of the result that may shrink, with the size of what is kept."""
        result = self.result
        if isinstance(result, Value):
            return {axis: count_kept(result, axis, self.keep) for axis in result.tracked}
        sizes = {}
        for position, axis in enumerate(result.axes if isinstance(result, Weight) else ()):
            for numbers in self.claims.get(result.name, ()) if isinstance(result, Weight) else ():
                if axis is not None and axis < numbers.ndim and numbers.shape[axis] > 1:
                    sizes[position] = len(kept_along(numbers, axis, self.keep))
        return sizes

    def set(self, name: str, argument: Any) -> None:
        """Change an argument, by its schema name."""
        assert isinstance(self.node.target, torch._ops.OpOverload)
        names = [schema.name for schema in self.node.target._schema.arguments]
        position = names.index(name)
        if position < len(self.node.args):
            self.node.update_arg(position, argument)
        else:
            self.node.update_kwarg(name, argument)


Rule = Callable[[Op], Flow]
Rewrite = Callable[[Removal], None]

_RULES: dict[str, Rule] = {}
_REWRITES: dict[str, Rewrite] = {}


def rule(*overloads: str) -> Callable[[Rule], Rule]:
    """Register a function as the rule of ATen overloads, named as in `conv2d.default`."""

    def register(function: Rule) -> Rule:
        for overload in overloads:
            assert f"aten.{overload}" not in _RULES, overload
            _RULES[f"aten.{overload}"] = function
        return function

    return register


def rewrite(*overloads: str) -> Callable[[Rewrite], Rewrite]:
    """Register a function as the rewrite of ATen overloads."""

    def register(function: Rewrite) -> Rewrite:
        for overload in overloads:
            assert f"aten.{overload}" not in _REWRITES, overload
            _REWRITES[f"aten.{overload}"] = function
        return function

    return register


@cache
def _name_of(overload: torch._ops.OpOverload) -> str:
    """`str(overload)`, which is put together anew each time."""
    return str(overload)


def find_rule(overload: torch._ops.OpOverload) -> Rule | None:
    return _RULES.get(_name_of(overload))


def find_rewrite(overload: torch._ops.OpOverload) -> Rewrite | None:
    return _REWRITES.get(_name_of(overload))
