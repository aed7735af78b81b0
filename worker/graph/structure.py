"""What of a network can be removed, in which pieces, and what that saves."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from worker.graph.blocks import find_bypasses, skip_adds
from worker.graph.components import Components, find_components
from worker.graph.cost import Cost, CostModel, Slot
from worker.graph.groups import Group, find_groups, group_ids
from worker.graph.labels import propagate
from worker.graph.layers import Layer, LayerCost, find_layers
from worker.graph.liveness import Liveness
from worker.graph.network import Network
from worker.graph.obstacles import Blocked, find_obstacles
from worker.graph.pricing import cost_model
from worker.graph.propagation import Consumer
from worker.graph.residuals import Residual, find_residuals, group_of_block
from worker.graph.roles import find_roles
from worker.graph.selection import Selection
from worker.graph.shapes import Recorded, example_inputs, record_shapes
from worker.graph.slots import build_slots
from worker.graph.values import Flow, Labels, Value

__all__ = ["Blocked", "Group", "Layer", "LayerCost", "Residual", "Selection", "Structure", "analyze"]


@dataclass(frozen=True)
class Structure:
    """The analysis of one network. `flows` and `claims` hold component numbers where the propagation had labels;
    `graph` is the graph that was analysed. `groups` are those of channels, and then one for each of `blocks`."""

    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    blocks: tuple[Residual, ...]
    blocked: tuple[Blocked, ...]
    slots: tuple[Slot, ...]
    model: CostModel
    component_count: int
    flows: dict[str, Flow]
    claims: dict[str, tuple[Labels, ...]]
    graph: fx.Graph
    consumers: tuple[Consumer, ...]
    liveness: Liveness

    @cached_property
    def group_of(self) -> npt.NDArray[np.int64]:
        """(components + 1,): index of the group of each component, -1 for none."""
        group_of = np.full(self.component_count + 1, -1, dtype=np.int64)
        for index, group in enumerate(self.groups):
            group_of[group.components] = index
        return group_of

    def merges_batch(self, network: Network) -> bool:
        """Whether channels lie along an axis that the batch is folded into (batch · heads), anywhere in the network
        that was analysed: labels then hold for one sample."""
        recorded = record_shapes(network, example_inputs(network, batch=2))
        values = [(name, flow) for name, flow in self.flows.items() if isinstance(flow, Value)]
        return any(_size(recorded[name], axis) != flow.shape[axis] for name, flow in values for axis in flow.tracked)

    def everything(self) -> Selection:
        """The selection that keeps the whole network."""
        return np.ones(self.component_count + 1, dtype=np.bool_)

    def kept_channels(self, selection: Selection) -> npt.NDArray[np.float64]:
        """(groups,): channels that each group keeps; of a block 1 or 0."""
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
        costs = []
        for index, layer in enumerate(self.layers):
            gone = not self.keeps_parameter(layer.weight, selection)
            channels = layer.channels if layer.slot is None else round(counts[layer.slot])
            costs.append(LayerCost(0 if gone else channels, round(macs[index]), round(params[index]), gone))
        return tuple(costs)

    def keeps_node(self, name: str, selection: Selection) -> bool:
        """Whether the node `name` is still in the graph that `remove` makes; a sum without its branch is not."""
        return self.liveness.keeps_node(name, self._kept_blocks(selection)) and name not in self.stand_ins(selection)

    def keeps_parameter(self, name: str, selection: Selection) -> bool:
        """Whether some block that reads the parameter or buffer `name` is kept. True of what no block has to itself."""
        return self.liveness.keeps_parameter(name, self._kept_blocks(selection))

    def consumers_of(self, selection: Selection) -> tuple[Consumer, ...]:
        """The consumers that `remove` leaves, each with the name that its source has there."""
        stand_ins, kept = self.stand_ins(selection), self._kept_blocks(selection)
        return tuple(
            Consumer(consumer.node, stand_ins.get(consumer.source, consumer.source), consumer.axis)
            for consumer in self.consumers
            if self.liveness.keeps_node(consumer.node, kept)
        )

    def blocks_of(self, selection: Selection) -> tuple[Residual, ...]:
        """The blocks that `remove` leaves: kept, and not gone with a block around them."""
        return tuple(block for block in self.blocks if self.keeps_node(block.add, selection))

    def stand_ins(self, selection: Selection) -> dict[str, str]:
        """For the sum of every block that is left out, by name: the node that is read in its place."""
        found: dict[str, str] = {}
        for block in self.blocks:  # in graph order: a skip that is such a sum itself comes before
            if not selection[block.component]:
                found[block.add] = found.get(block.skip, block.skip)
        return found

    def _kept_blocks(self, selection: Selection) -> npt.NDArray[np.bool_]:
        return selection[self.component_count + 1 - len(self.blocks) :]


def analyze(network: Network, example: tuple[Tensor, ...]) -> Structure:
    """Run `network` once on `example` (one sample) and once on labels.

    Raises UnsupportedModel when the network does not run on the example.
    """
    graph, recorded = network.module.graph, record_shapes(network, example)
    labelled, ledger = propagate(network, recorded)
    components = find_components(labelled, ledger)
    known: dict[int, Labels] = {}
    flows = {name: _numbered(flow, components, known) for name, flow in labelled.items()}
    claims = {name: tuple(components.of[labels] for labels in claimed) for name, claimed in ledger.claims.items()}
    table = build_slots(ledger, claims, components)
    kinds = table.interchangeable()
    skips = skip_adds(graph, recorded)
    bypasses, liveness = find_bypasses(graph, skips, frozenset(ledger.cost_nodes))
    numbers = np.arange(len(bypasses), dtype=np.int64) + components.count + 1
    model, slots = cost_model(network, ledger, table, kinds, liveness, numbers, len(example[0]))
    whole = np.array([*map(len, kinds), *(1 for _ in bypasses)], dtype=np.float64)
    layers = find_layers(network, ledger, table, kinds, group_ids(len(kinds)), model, whole)
    roles = find_roles(graph, flows, ledger, table, kinds, (add for add, _, _ in skips))
    blocks = find_residuals(bypasses, components.count + 1, layers, liveness)
    channels = find_groups(kinds, roles, table, layers, ledger, components)
    return Structure(
        layers=layers,
        groups=(*channels, *map(group_of_block, range(len(blocks)), blocks)),
        blocks=blocks,
        blocked=find_obstacles(network, ledger, components, layers),
        slots=slots,
        model=model,
        component_count=components.count + len(blocks),
        flows=flows,
        claims=claims,
        graph=graph,
        consumers=tuple(ledger.consumers),
        liveness=liveness,
    )


def _size(recorded: Recorded, axis: int) -> int | None:
    return recorded[axis] if isinstance(recorded, torch.Size) else None


def _numbered(flow: Flow, components: Components, known: dict[int, Labels]) -> Flow:
    """`known` are numbers by the id of their labels, which many values of a network share."""
    if isinstance(flow, Value):
        numbers = known.get(id(flow.labels))
        if numbers is None:
            numbers = known[id(flow.labels)] = components.of[flow.labels]
        return Value(flow.shape, numbers)
    return tuple(_numbered(item, components, known) for item in flow) if isinstance(flow, tuple) else flow
