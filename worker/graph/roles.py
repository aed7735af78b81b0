"""Roles of groups: what kind of unit their components are. Read off the graph and the ledger, never off names."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import fx

from service.contract.recipe import Structured
from worker.graph.arguments import bind
from worker.graph.propagation import Propagation
from worker.graph.slots import SlotTable
from worker.graph.values import Flow, Labels, Value

__all__ = ["find_roles"]

Flags = npt.NDArray[np.bool_]

_NORMS_OVER_LAST = frozenset({"layer_norm", "rms_norm"})
_MEANS = frozenset({"mean", "sum", "var", "var_mean"})
_NORMS = frozenset({"std", "norm", "linalg_vector_norm"})
_ROOTS = frozenset({"sqrt", "rsqrt", "pow"})
# From a variance to its root: getitem, a constant added, a cast, a clamp.
_STEPS_TO_ROOT = 4


def find_roles(
    graph: fx.Graph,
    flows: Mapping[str, Flow],
    ledger: Propagation,
    table: SlotTable,
    kinds: list[npt.NDArray[np.int64]],
    skips: Iterable[fx.Node],
) -> list[Structured]:
    """The role of each group of channels, the first of these that fits. `flows` hold component numbers, `skips` are
    sums of which one operand depends on the other.

    - `embedding`: the width of a stream that is normalised. A norm over the whole width (`layer_norm`, `rms_norm`,
      `group_norm` of one group, or a mean over channels whose root is taken) runs over the channels, and they are
      carried past other layers by a skip connection, or looked up in a table of embeddings.
    - `head`: whole attention heads; with grouped queries whole key-value groups. The components lie along a batch axis
      of a product of two activations, and each holds several output channels of a layer.
    - `channel`: output channels of a convolution, perhaps of other layers too.
    - `neuron`: output channels of linear or recurrent layers, or columns of a table, alone.

    What no layer makes (channels that meet nothing but parameters) is `channel`.
    """
    size = table.touches.shape[0]
    normalised, carried, heads = (np.zeros(size, dtype=np.bool_) for _ in range(3))
    for labels in _normalised(graph, flows):
        normalised[labels] = True
    for add in skips:
        flow = flows[add.name]
        if isinstance(flow, Value):
            carried[flow.labels] = True
    for labels in _heads(flows, ledger):
        heads[labels] = True
    made = {table.find(weight, ledger.output_axes[weight]): op for weight, op in ledger.layers.items()}
    outputs = {slot: op for slot, op in made.items() if slot is not None}
    return [_role(members, normalised, carried, heads, table, outputs) for members in kinds]


def _role(
    members: npt.NDArray[np.int64],
    normalised: Flags,
    carried: Flags,
    heads: Flags,
    table: SlotTable,
    outputs: Mapping[int, str],
) -> Structured:
    ops = {outputs[slot]: count for slot, count in table.entries_of(members[0]).items() if slot in outputs}
    looked_up = "embedding" in ops
    if normalised[members].any() and (looked_up or carried[members].any()):
        return "embedding"
    if heads[members].any() and max(ops.values(), default=0) > 1:
        return "head"
    return "channel" if not ops or any(op.startswith("conv") for op in ops) else "neuron"


def _heads(flows: Mapping[str, Flow], ledger: Propagation) -> Iterator[Labels]:
    """What lies along batch axes of products of two activations, and along no other axis of them."""
    products = {node for term, node in zip(ledger.costs, ledger.cost_nodes, strict=True) if term.layer is None}
    for node in products:
        flow = flows[node]
        if isinstance(flow, Value):
            tracked = Value.of(flow.shape, flow.labels).tracked
            if tracked and tracked[-1] < len(flow.shape) - 2:
                yield flow.labels


def _normalised(graph: fx.Graph, flows: Mapping[str, Flow]) -> Iterator[Labels]:
    """What a norm over all channels runs over."""
    for node in graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        name = node.target._schema.name.removeprefix("aten::")
        source = node.args[0] if node.args else None
        flow = flows.get(source.name) if isinstance(source, fx.Node) else None
        if not isinstance(flow, Value):
            continue
        if _is_norm(node, name) or (
            (name in _NORMS or (name in _MEANS and _becomes_root(node, _STEPS_TO_ROOT))) and _over_channels(node, flow)
        ):
            yield flow.labels


def _is_norm(node: fx.Node, name: str) -> bool:
    return name in _NORMS_OVER_LAST or (name == "group_norm" and bind(node)["num_groups"] == 1)


def _over_channels(node: fx.Node, flow: Value) -> bool:
    """Whether a reduction runs over exactly the axes along which channels lie."""
    axes = bind(node).get("dim")
    rank = len(flow.shape)
    listed = range(rank) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    return bool(flow.tracked) and {axis % rank for axis in listed} == set(flow.tracked)


def _becomes_root(node: fx.Node, steps: int) -> bool:
    """Whether a root is taken of what `node` makes, with nothing but constants in between."""
    for user in node.users:
        name = str(user.target).split(".")[1] if isinstance(user.target, torch._ops.OpOverload) else ""
        if name in _ROOTS:
            return True
        if steps > 1 and len(user.all_input_nodes) == 1 and _becomes_root(user, steps - 1):
            return True
    return False
