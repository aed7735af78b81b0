"""Runs the graph once on labels instead of numbers."""

import operator

import torch
from torch import fx

from worker.graph.arguments import bind
from worker.graph.network import Network
from worker.graph.propagation import Propagation
from worker.graph.rules import Op, find_rule
from worker.graph.rules.joining import take_item
from worker.graph.rules.pointwise import is_pointwise, pointwise
from worker.graph.shapes import Recorded
from worker.graph.values import Flow, Labels, Value, Weight

__all__ = ["UNUSUAL", "propagate"]

UNUSUAL = "this call has unusual arguments, which the op's rule does not know; what it touches keeps its size"


def propagate(network: Network, recorded: dict[str, Recorded]) -> tuple[dict[str, Flow], Propagation]:
    """Labels of every node by name, and the ledger of what was found. Linear in the number of nodes.

    `recorded` are the shapes of `worker.graph.shapes.record_shapes`. What the network returns is pinned.
    """
    ledger = Propagation()
    flows: dict[fx.Node, Flow] = {}
    for node in network.module.graph.nodes:
        flows[node] = _run(node, flows, recorded, ledger)
        ledger.cost_nodes += [node.name] * (len(ledger.costs) - len(ledger.cost_nodes))
    named = {node.name: flow for node, flow in flows.items()}
    return named | _stretched(named, ledger), ledger


def _run(node: fx.Node, flows: dict[fx.Node, Flow], recorded: dict[str, Recorded], ledger: Propagation) -> Flow:
    shape = recorded.get(node.name)
    if node.op == "placeholder":
        return Value.plain(tuple(shape)) if isinstance(shape, torch.Size) else None
    if node.op == "get_attr":
        assert isinstance(shape, torch.Size)
        return Weight(str(node.target), tuple(shape), tuple(range(len(shape))))
    if node.op == "output":
        for source in node.all_input_nodes:
            _pin_output(flows[source], ledger)
        return None
    if isinstance(node.target, torch._ops.OpOverload):
        op = Op(node, bind(node), flows, recorded, ledger)
        return _apply(op, node.target, shape)
    if node.target is operator.getitem:
        return take_item(Op(node, {}, flows, recorded, ledger))
    return None


def _apply(op: Op, overload: torch._ops.OpOverload, shape: Recorded) -> Flow:
    if not isinstance(shape, torch.Size | tuple):
        return None
    rule = find_rule(overload)
    if rule is None and not any(op.flows.get(source) is not None for source in op.node.all_input_nodes):
        # Made from sizes alone: a constant.
        return Value.plain(tuple(shape)) if isinstance(shape, torch.Size) else None
    if rule is None and is_pointwise(overload):
        rule = pointwise
    if rule is None:
        return op.unknown()
    try:
        return rule(op)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- an upload chooses the arguments; whatever they break, pinning is right
        return op.unknown(UNUSUAL)


def _stretched(flows: dict[str, Flow], ledger: Propagation) -> dict[str, Flow]:
    """Constants whose size follows what they met: by now every user is known."""
    axes: dict[str, dict[int, Labels]] = {}
    for (name, axis), met in ledger.stretched.items():
        for labels in met[1:]:
            ledger.tie(met[0], labels)
        axes.setdefault(name, {})[axis] = met[0]
    values: dict[str, Flow] = {}
    for name, labels_of in axes.items():
        flow = flows[name]
        assert isinstance(flow, Value)
        if len(labels_of) > 1:
            for labels in labels_of.values():
                ledger.pin(labels)
        else:
            ((axis, labels),) = labels_of.items()
            values[name] = Value.along(flow.shape, axis, labels)
    return values


def _pin_output(flow: Flow, ledger: Propagation) -> None:
    if isinstance(flow, Value):
        ledger.pin(flow.labels)
    elif isinstance(flow, Weight):
        ledger.pin_weight(flow)
