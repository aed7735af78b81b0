"""The nodes of the file as an FX graph of allow-listed functions."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from worker.errors import MalformedModel, UnsupportedModel
from worker.formats.pt2.arguments import ordered_arguments
from worker.formats.pt2.schema import Argument, Graph, Node
from worker.formats.pt2.tensors import DTYPES
from worker.graph.allowlist import ATEN_OVERLOADS, OPERATOR_FUNCTIONS, aten_overload

__all__ = ["GraphBuilder"]

_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_NO_GRAD = "torch.ops.higher_order.wrap_with_set_grad_enabled"
_AUTOCAST = "torch.ops.higher_order.wrap_with_autocast"
_WITHOUT_DEVICE = {"aten.to.device": "aten.to.dtype"}
"""Ops that name a device, which is decided here: the forms of them that do not."""
_NESTING = 8
_OMIT = object()

_ADVICE = {
    "torch.ops.higher_order": "Export without control flow, or call program.run_decompositions({}) before saving.",
    "torch.ops.aten": "Export the model in eval mode (model.eval()); if the op stays, replace it in the model.",
}


class GraphBuilder:
    """Adds nodes to `graph`, and knows every value by its name in the file.

    `nodes_left` bounds the nodes of the graph and its sub-graphs together.
    """

    def __init__(self, graph: fx.Graph, node_limit: int) -> None:
        self._graph = graph
        self._limit = node_limit
        self._left = node_limit
        self.values: dict[str, fx.Node] = {}

    def add(self, nodes: Iterable[Node], depth: int = 0) -> None:
        """Append `nodes` in order.

        Raises:
            UnsupportedModel: a function that is not allowed, named; too many nodes.
            MalformedModel: a value is used before it is made, or an argument does not belong to its op.
        """
        for node in nodes:
            self._left -= 1
            if self._left < 0:
                raise UnsupportedModel(f"the model has more than {self._limit:,} ops, the limit of this service")
            if node.target in (_NO_GRAD, _AUTOCAST):
                self._inline(node, depth)
                continue
            self._bind(node, self._call(node))

    def _call(self, node: Node) -> fx.Node:
        if node.target.startswith("_operator."):
            function = OPERATOR_FUNCTIONS.get(node.target.removeprefix("_operator."))
            if function is not None:
                return self._graph.call_function(function, tuple(self._convert(item.arg) for item in node.inputs))
        name = node.target.removeprefix("torch.ops.")
        overload = aten_overload(_WITHOUT_DEVICE.get(name, name))
        if overload is None:
            raise _refusal(node.target)
        given = {item.name: self._convert(item.arg) for item in node.inputs}
        if len(given) != len(node.inputs):
            raise MalformedModel(f"{overload} is given an argument twice")
        args, kwargs = ordered_arguments(overload, {name: value for name, value in given.items() if value is not _OMIT})
        return self._graph.call_function(overload, args, kwargs)

    def _convert(self, argument: Argument) -> Any:
        kind, value = argument.kind, argument.value
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return self.value(value.name)
            case "as_tensors":
                return [self.value(item.name) for item in value]
            case "as_optional_tensor":
                return None if value.as_tensor is None else self.value(value.as_tensor.name)
            case "as_optional_tensors":
                return [None if item.as_tensor is None else self.value(item.as_tensor.name) for item in value]
            case "as_sym_int" | "as_sym_bool" | "as_sym_float":
                return self._size(value)
            case "as_sym_ints":
                return [self._size(item) for item in value]
            case "as_scalar_type":
                if value not in DTYPES:
                    raise UnsupportedModel(f"dtype number {value} has no support")
                return DTYPES[value]
            case "as_memory_format":
                return _MEMORY_FORMATS.get(value, torch.contiguous_format)
            case "as_device" | "as_layout":
                return _OMIT  # where a network runs is decided here, not in the file; layouts are dense
            case "as_graph":
                raise UnsupportedModel("a nested graph is handed to an op that takes none")
            case "as_ints" | "as_floats" | "as_bools":
                return list(value)
            case _:
                return value

    def _size(self, reference: Any) -> Any:
        return self.value(reference.value) if reference.kind == "as_name" else reference.value

    def value(self, name: str) -> fx.Node:
        """The value called `name`. Raises MalformedModel when no earlier node made it."""
        try:
            return self.values[name]
        except KeyError:
            raise MalformedModel(f"the graph uses the value {name!r} before anything makes it") from None

    def bind(self, name: str, node: fx.Node) -> None:
        """Give a value its name. Raises MalformedModel when the name is taken."""
        if name in self.values:
            raise MalformedModel(f"two values of the graph are called {name!r}")
        self.values[name] = node

    def _bind(self, node: Node, made: fx.Node) -> None:
        """Name what a node answers: one value, or several that are taken out of a tuple."""
        names = _names(node.outputs)
        if len(node.outputs) == 1 and node.outputs[0].kind != "as_tensors":
            self.bind(names[0] or made.name, made)
            made._rename(names[0] or made.name)
            return
        for position, name in enumerate(names):
            if name is not None:
                self.bind(
                    name,
                    self._graph.create_node("call_function", OPERATOR_FUNCTIONS["getitem"], (made, position), {}, name),
                )

    def _inline(self, node: Node, depth: int) -> None:
        """Replace a block by its nodes: `torch.no_grad()` changes no value, and pruning wants the gradients; `autocast`
        that is switched off does nothing."""
        place = next((at for at, item in enumerate(node.inputs) if item.arg.as_graph is not None), None)
        if depth >= _NESTING or place is None:
            raise MalformedModel(f"{node.target} does not hold a graph, or is nested too deeply")
        if node.target == _AUTOCAST and (place < 3 or node.inputs[2].arg.as_bool is not False):
            raise UnsupportedModel("a part of the model runs in mixed precision; export it without torch.autocast")
        held = node.inputs[place].arg.as_graph
        assert held is not None
        inner: Graph = held.graph
        operands = [self._convert(item.arg) for item in node.inputs[place + 1 :]]
        outer, self.values = self.values, {}
        try:
            for name, operand in zip(_names(inner.inputs), operands, strict=True):
                if name is None or not isinstance(operand, fx.Node):
                    raise MalformedModel(f"{node.target} is handed something else than values")
                self.bind(name, operand)
            self.add(inner.nodes, depth + 1)
            results = [None if name is None else self.value(name) for name in _names(inner.outputs)]
        except ValueError as error:
            raise MalformedModel(
                f"{node.target} is handed {len(operands)} values for another number of inputs"
            ) from error
        finally:
            self.values = outer
        names = _names(node.outputs)
        if len(names) != len(results):
            raise MalformedModel(f"{node.target} answers {len(results)} values under {len(names)} names")
        for name, result in zip(names, results, strict=True):
            if name is not None and result is not None:
                self.bind(name, result)


def _names(values: list[Argument]) -> list[str | None]:
    """Names of outputs, flat; None where the file says that there is no value."""
    names: list[str | None] = []
    for value in values:
        match value.kind:
            case "as_tensor":
                names.append(value.value.name)
            case "as_tensors":
                names += [item.name for item in value.value]
            case "as_sym_int" | "as_sym_bool" | "as_sym_float" if value.value.kind == "as_name":
                names.append(value.value.as_name)
            case "as_none":
                names.append(None)
            case kind:
                raise UnsupportedModel(f"an op answers a value of kind {kind!r}; only tensors and sizes are supported")
    return names


def _refusal(target: str) -> UnsupportedModel:
    advice = next((text for prefix, text in _ADVICE.items() if target.startswith(prefix)), "")
    known = f"torch.ops.aten with {len(ATEN_OVERLOADS)} ops"
    return UnsupportedModel(f"the op {target!r} is not supported (a network is made of {known}). {advice}".rstrip())
