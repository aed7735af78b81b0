"""Recurrent layers brought into one form: one layer to a node, on weights and states whose sizes are sure to fit.

PyTorch's fast kernels read as much memory as the sizes of the input and of the states ask for, whatever the weights
hold. So weights are checked here, and inputs and states pass an `expand`, which fails unless they have their size.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from worker.errors import MalformedModel, UnsupportedModel

__all__ = ["split_recurrent"]

aten = torch.ops.aten

_GATES = {aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1}
_ZEROS = frozenset({aten.zeros.default, aten.new_zeros.default, aten.zeros_like.default})
_FILLED = frozenset({aten.full.default, aten.full_like.default})
_PARTS = frozenset(
    {
        aten.slice.Tensor, aten.select.int, aten.narrow.default, aten.expand.default, aten.unsqueeze.default,
        aten.squeeze.dim, aten.transpose.int, aten.permute.default,
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Layer:
    """Weights of one layer, of all its directions, and its sizes."""

    weights: list[fx.Node]
    inputs: int
    hidden: int


def split_recurrent(module: fx.GraphModule) -> None:
    """Every stack of recurrent layers becomes a node for each layer, with dropout between them, in place.

    Raises:
        MalformedModel: weights that do not fit each other.
        UnsupportedModel: weights that are computed in the graph, and projected outputs.
    """
    found = [node for node in module.graph.nodes if node.op == "call_function" and node.target in _GATES]
    for node in found:
        _split(module, node)
    if found:
        module.graph.eliminate_dead_code()
        module.recompile()


def _split(module: fx.GraphModule, node: fx.Node) -> None:
    arguments: tuple[Any, ...] = node.args
    x, given, params, has_biases, count, dropout, _, bidirectional, batch_first = arguments
    assert isinstance(x, fx.Node)
    assert isinstance(node.target, torch._ops.OpOverload)
    directions = 2 if bidirectional else 1
    states = list(given) if isinstance(given, list | tuple) else [given]
    if len(states) != (2 if node.target is aten.lstm.input else 1):
        raise MalformedModel(f"{node.name} ({node.target}) is given {len(states)} states")
    layers = _layers(module, node, params, bool(has_biases), count, directions)
    graph = node.graph
    ends: list[list[fx.Node]] = [[] for _ in states]
    with graph.inserting_before(node):
        batch = graph.call_function(aten.sym_size.int, (x, 0 if batch_first else 1))
        y = graph.call_function(aten.expand.default, (x, [-1, -1, layers[0].inputs]))
        for position, layer in enumerate(layers):
            if position and dropout:
                y = graph.call_function(aten.dropout.default, (y, dropout, False))
            size = [directions, batch, layer.hidden]
            starts = [_state(graph, x, state, position, len(layers), size) for state in states]
            made = graph.call_function(
                node.target,
                (y, starts if node.target is aten.lstm.input else starts[0], layer.weights, bool(has_biases), 1, 0.0,
                 False, bool(bidirectional), bool(batch_first)),
            )  # fmt: skip
            y, *rest = (graph.call_function(operator.getitem, (made, place)) for place in range(1 + len(states)))
            for end, own in zip(ends, rest, strict=True):
                end.append(own)
    for user in list(node.users):
        place = user.args[1]
        assert isinstance(place, int)
        if place == 0:
            user.replace_all_uses_with(y)
        else:
            _replace_ends(user, ends[place - 1], directions)
        graph.erase_node(user)
    graph.erase_node(node)


def _layers(
    module: fx.GraphModule, node: fx.Node, params: Any, has_biases: bool, count: int, directions: int
) -> list[_Layer]:
    """The weights of each layer, checked."""
    assert isinstance(node.target, torch._ops.OpOverload)
    gates = _GATES[node.target]
    if any(not isinstance(weight, fx.Node) or weight.op != "get_attr" for weight in params):
        raise UnsupportedModel(f"{node.name} ({node.target}) has weights that are computed in the graph")
    each = 4 if has_biases else 2
    if node.target is aten.lstm.input and len(params) == (each + 1) * count * directions:
        raise UnsupportedModel(
            f"{node.name} ({node.target}) projects its outputs (proj_size), which the LSTM of ONNX cannot; leave "
            "proj_size out, or write the projection as a linear layer"
        )
    if len(params) != each * max(count, 1) * directions:
        raise MalformedModel(f"{node.name} ({node.target}) has {len(params)} weights for {count} layers")
    layers: list[_Layer] = []
    inputs: int | None = None
    for start in range(0, len(params), each * directions):
        weights = list(params[start : start + each * directions])
        shapes = [tuple(_tensor(module, weight).shape) for weight in weights]
        if any(len(shape) != 2 for shape in shapes[:2]):
            raise _misfit(node)
        inputs = shapes[0][1] if inputs is None else inputs
        hidden = shapes[1][1]
        wanted = [(gates * hidden, inputs), (gates * hidden, hidden), *[(gates * hidden,)] * (each - 2)]
        if shapes != wanted * directions or not hidden * inputs:
            raise _misfit(node)
        layers.append(_Layer(weights, inputs, hidden))
        inputs = hidden * directions
    return layers


def _misfit(node: fx.Node) -> MalformedModel:
    return MalformedModel(f"{node.name} ({node.target}) has weights whose shapes do not fit each other")


def _tensor(module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    tensor = operator.attrgetter(str(node.target))(module)
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _state(graph: fx.Graph, x: fx.Node, state: fx.Node, position: int, layers: int, sizes: list[Any]) -> fx.Node:
    """What one layer starts from, out of the states of all layers."""
    if _is_zero(state):
        return graph.call_function(aten.new_zeros.default, (x, sizes))
    if layers == 1:
        state = _one_of_several(state, sizes[0])
    if state.target is aten.cat.default and state.args[1:] in ((), (0,)):
        parts = state.args[0]
        assert isinstance(parts, list)
        if len(parts) == layers and all(_made_by_a_layer(part, sizes[0]) for part in parts):
            return graph.call_function(aten.expand.default, (parts[position], sizes))
    if layers > 1:
        start = position * sizes[0]
        state = graph.call_function(aten.slice.Tensor, (state, 0, start, start + sizes[0]))
    return graph.call_function(aten.expand.default, (state, sizes))


def _one_of_several(state: fx.Node, directions: int) -> fx.Node:
    """The last states of one layer, where they were joined with those of others and are taken out again."""
    arguments: tuple[Any, ...] = state.args
    if state.target is not aten.slice.Tensor or not all(isinstance(number, int) for number in arguments[1:]):
        return state
    joined: Any
    joined, axis, start, stop = arguments[:4] if len(arguments) > 3 else (state, 0, 0, 0)
    if axis != 0 or arguments[4:] not in ((), (1,)) or joined.target is not aten.cat.default:
        return state
    parts: list[fx.Node] = joined.args[0] if joined.args[1:] in ((), (0,)) else []
    fits = start % directions == 0 and stop == start + directions and start // directions < len(parts)
    if not fits or not all(_made_by_a_layer(part, directions) for part in parts):
        return state
    one: fx.Node = parts[start // directions]
    return one


def _is_zero(state: fx.Node) -> bool:
    """Whether all values are 0, whatever part of a tensor of zeros is taken."""
    while state.target in _PARTS and isinstance(state.args[0], fx.Node):
        state = state.args[0]
    return state.target in _ZEROS or (state.target in _FILLED and state.args[1] in (0, 0.0))


def _made_by_a_layer(state: Any, directions: int) -> bool:
    source = state.args[0] if isinstance(state, fx.Node) and state.target is operator.getitem else None
    return isinstance(source, fx.Node) and source.target in _GATES and bool(source.args[7]) == (directions == 2)


def _replace_ends(states: fx.Node, ends: list[fx.Node], directions: int) -> None:
    """Let readers of the states of all layers read those of each."""
    graph, rank = states.graph, 3
    for user in list(states.users):
        if user.target is aten.select.int and user.args[1] in (0, -rank) and isinstance(user.args[2], int):
            layer, direction = divmod(user.args[2] % (len(ends) * directions), directions)
            user.args = (ends[layer], 0, direction)
    if states.users:
        with graph.inserting_before(states):
            together = graph.call_function(aten.cat.default, (ends, 0)) if len(ends) > 1 else ends[0]
        states.replace_all_uses_with(together)
