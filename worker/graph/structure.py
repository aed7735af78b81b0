"""What of a network can be removed, in which pieces, and what that saves."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor, fx

from worker.graph.components import Components, find_components
from worker.graph.cost import Cost, CostModel, Polynomial, Slot, Term, parameter_terms
from worker.graph.labels import propagate
from worker.graph.network import Network
from worker.graph.propagation import Consumer, Propagation
from worker.graph.shapes import record_shapes
from worker.graph.slots import SlotTable, build_slots
from worker.graph.values import Flow, Labels, Value

__all__ = ["Blocked", "Group", "Layer", "LayerCost", "Selection", "Structure", "analyze"]

Selection = npt.NDArray[np.bool_]
"""(components + 1,): what is kept. Entry 0 stands for all that cannot be removed and is always True."""


@dataclass(frozen=True)
class Layer:
    """An op with a weight that makes channels. `parameters` counts its weight and bias, `macs` one sample."""

    name: str
    op: str
    weight: str
    weight_shape: tuple[int, ...]
    parameters: int
    macs: int
    channels: int
    prunable: int
    groups: tuple[str, ...]
    """Groups that its output channels belong to: several where a wider layer was padded or concatenated."""
    slot: int | None
    """Index of its output channels among the slots; None for a layer of one channel."""

    @property
    def group(self) -> str | None:
        """The group of most of its output channels."""
        return self.groups[0] if self.groups else None


@dataclass(frozen=True)
class Member:
    """An axis of a parameter that shrinks with a group, by `entries` for every channel of the group."""

    parameter: str
    axis: int | None
    entries: int


@dataclass(frozen=True)
class Group:
    """Components that touch the same axes in the same numbers: one is as good as another, only scores differ."""

    id: str
    layers: tuple[str, ...]
    components: npt.NDArray[np.int64]
    members: tuple[Member, ...]
    statistics: bool
    """Whether a mean or a variance runs over these channels, so that removing some changes what the others see."""

    @property
    def channels(self) -> int:
        """Number of units that can be removed one by one."""
        return len(self.components)


@dataclass(frozen=True)
class Blocked:
    """An op that keeps layers from being pruned."""

    op: str
    layers: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class LayerCost:
    """A layer under a selection."""

    channels: int
    macs: int
    params: int


@dataclass(frozen=True)
class Structure:
    """The analysis of one network. `flows` and `claims` hold component numbers where the propagation had labels;
    `graph` is the graph that was analysed."""

    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    blocked: tuple[Blocked, ...]
    slots: tuple[Slot, ...]
    model: CostModel
    component_count: int
    flows: dict[str, Flow]
    claims: dict[str, tuple[Labels, ...]]
    graph: fx.Graph
    consumers: tuple[Consumer, ...]

    @cached_property
    def group_of(self) -> npt.NDArray[np.int64]:
        """(components + 1,): index of the group of each component, -1 for none."""
        group_of = np.full(self.component_count + 1, -1, dtype=np.int64)
        for index, group in enumerate(self.groups):
            group_of[group.components] = index
        return group_of

    @cached_property
    def merges_batch(self) -> bool:
        """Whether channels are folded into some batch axis (batch · heads): labels then hold for one sample."""
        values = [flow for flow in self.flows.values() if isinstance(flow, Value) and len(flow.shape) > 1]
        return any(0 in value.tracked for value in values)

    def everything(self) -> Selection:
        """The selection that keeps the whole network."""
        return np.ones(self.component_count + 1, dtype=np.bool_)

    def kept_channels(self, selection: Selection) -> npt.NDArray[np.float64]:
        """(groups,): channels that each group keeps."""
        members = self.group_of[np.flatnonzero(selection)]
        return np.bincount(members[members >= 0], minlength=len(self.groups)).astype(np.float64)

    def cost(self, selection: Selection) -> Cost:
        """Exact cost of the network that `remove` makes of this selection."""
        macs, params = self.model.evaluate(self.kept_channels(selection))
        return Cost(float(macs), float(params))

    def layer_costs(self, selection: Selection) -> tuple[LayerCost, ...]:
        """Output channels, MACs and parameters of every layer, in the order of `layers`."""
        counts = self.model.counts(self.kept_channels(selection))
        macs = self.model.macs.by_layer(counts, len(self.layers))
        params = self.model.params.by_layer(counts, len(self.layers))
        return tuple(
            LayerCost(
                layer.channels if layer.slot is None else round(counts[layer.slot]),
                round(macs[index]),
                round(params[index]),
            )
            for index, layer in enumerate(self.layers)
        )


def analyze(network: Network, example: tuple[Tensor, ...]) -> Structure:
    """Run `network` once on `example` (one sample) and once on labels.

    Raises UnsupportedModel when the network does not run on the example.
    """
    flows, ledger = propagate(network, record_shapes(network, example))
    components = find_components(flows, ledger)
    claims = {name: tuple(components.of[labels] for labels in claimed) for name, claimed in ledger.claims.items()}
    table = build_slots(ledger, claims, components)
    kinds = table.interchangeable()
    model = _cost_model(network, ledger, table, kinds, len(example[0]))
    layers = _layers(network, ledger, table, kinds, model)
    return Structure(
        layers=layers,
        groups=tuple(_group(index, members, table, layers, ledger, components) for index, members in enumerate(kinds)),
        blocked=_blocked(network, ledger, components, layers),
        slots=table.slots,
        model=model,
        component_count=components.count,
        flows={name: _numbered(flow, components) for name, flow in flows.items()},
        claims=claims,
        graph=network.module.graph,
        consumers=tuple(ledger.consumers),
    )


def _cost_model(
    network: Network, ledger: Propagation, table: SlotTable, kinds: list[npt.NDArray[np.int64]], batch: int
) -> CostModel:
    per_group = [table.touches[[members[0]]].toarray()[0] for members in kinds]
    columns = np.array(per_group, dtype=np.float64).reshape(len(kinds), len(table.slots)).T
    sizes = np.array([len(slot.numbers) for slot in table.slots], dtype=np.float64)
    base = sizes - columns @ np.array([len(members) for members in kinds], dtype=np.float64)
    owner = {name: index for index, name in enumerate(ledger.layers)}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.module.state_dict().items()}
    macs = []
    for cost in ledger.costs:
        coefficient, factors = cost.coefficient / batch, []
        for factor in cost.factors:
            slot = table.find(*factor) if isinstance(factor, tuple) else table.pieces[factor.tobytes()]
            if slot is not None:
                factors.append(slot)
            elif isinstance(factor, tuple):
                coefficient *= shapes[factor[0]][factor[1]]
        macs.append(Term(coefficient, tuple(factors), owner.get(cost.layer or "", -1)))
    owner_of_parameter = owner | {bias: owner[weight] for bias, weight in ledger.biases.items()}
    parameter_sizes = {name: parameter.numel() for name, parameter in network.parameters()}
    params = parameter_terms(parameter_sizes, table.slots, owner_of_parameter, table.axes)
    slots = len(table.slots)
    return CostModel(base, columns, Polynomial.of(macs, slots), Polynomial.of(params, slots))


def _layers(
    network: Network, ledger: Propagation, table: SlotTable, kinds: list[npt.NDArray[np.int64]], model: CostModel
) -> tuple[Layer, ...]:
    counts = model.counts(np.array([len(members) for members in kinds], dtype=np.float64))
    macs = model.macs.by_layer(counts, len(ledger.layers))
    params = model.params.by_layer(counts, len(ledger.layers))
    kind_of = np.full(table.touches.shape[0], -1, dtype=np.int64)
    for index, members in enumerate(kinds):
        kind_of[members] = index
    tensors = network.module.state_dict()
    layers = []
    for index, (weight, op) in enumerate(ledger.layers.items()):
        axis = ledger.output_axes[weight]
        slot = table.find(weight, axis)
        kind = kind_of[table.slots[slot].numbers] if slot is not None else np.zeros(0, dtype=np.int64)
        found, first, share = np.unique(kind[kind >= 0], return_index=True, return_counts=True)
        order = np.lexsort((first, -share))
        layers.append(
            Layer(
                name=weight.removesuffix(".weight"),
                op=op,
                weight=weight,
                weight_shape=tuple(tensors[weight].shape),
                parameters=round(params[index]),
                macs=round(macs[index]),
                channels=tensors[weight].shape[axis],
                prunable=int((kind >= 0).sum()),
                groups=tuple(_group_id(found[position]) for position in order),
                slot=slot,
            )
        )
    return tuple(layers)


def _group_id(index: int) -> str:
    return f"g{index + 1}"


def _group(
    index: int,
    members: npt.NDArray[np.int64],
    table: SlotTable,
    layers: tuple[Layer, ...],
    ledger: Propagation,
    components: Components,
) -> Group:
    entries = table.touches[[members[0]]].toarray()[0]
    touched = [slot for slot in np.flatnonzero(entries) if table.slots[slot].parameter is not None]
    statistics = {int(number) for labels in ledger.statistics for number in np.unique(components.of[labels])}
    return Group(
        id=_group_id(index),
        layers=tuple(layer.name for layer in layers if layer.slot in touched),
        components=members,
        members=tuple(
            Member(str(table.slots[slot].parameter), table.slots[slot].axis, int(entries[slot])) for slot in touched
        ),
        statistics=bool(statistics & {int(member) for member in members}),
    )


def _blocked(
    network: Network, ledger: Propagation, components: Components, layers: tuple[Layer, ...]
) -> tuple[Blocked, ...]:
    """Ops that pinned something, each with the layers it held. One that held none is left out.

    A weight that is pinned before any op made it a layer would have been one, if it is a matrix or a kernel.
    """
    names = {layer.weight: layer.name for layer in layers}
    for name, parameter in network.parameters():
        if parameter.dim() > 1:
            names.setdefault(name, name.removesuffix(".weight"))
    makers: dict[int, set[str]] = {}
    for start, stop, weight in ledger.minted:
        for number in np.unique(components.loose[start:stop]):
            makers.setdefault(int(number), set()).add(weight)
    found: dict[tuple[str, str], set[str]] = {}
    for block in ledger.blocks:
        weights = found.setdefault((block.op, block.why), set())
        weights |= set(block.weights)
        for number in np.unique(components.loose[block.labels[block.labels > 0]]):
            weights |= makers.get(int(number), set())
    return tuple(
        Blocked(op, tuple(layer for weight, layer in names.items() if weight in weights), why)
        for (op, why), weights in found.items()
        if weights & names.keys()
    )


def _numbered(flow: Flow, components: Components) -> Flow:
    if isinstance(flow, tuple):
        return tuple(_numbered(item, components) for item in flow)
    return Value(flow.shape, components.of[flow.labels]) if isinstance(flow, Value) else flow
