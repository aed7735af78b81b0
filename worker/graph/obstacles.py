"""What keeps layers from being pruned."""

from dataclasses import dataclass

import numpy as np

from worker.graph.components import Components
from worker.graph.layers import Layer
from worker.graph.network import Network
from worker.graph.propagation import Propagation
from worker.graph.values import Labels

__all__ = ["Blocked", "find_obstacles"]


@dataclass(frozen=True)
class Blocked:
    """An op that keeps layers from being pruned."""

    op: str
    layers: tuple[str, ...]
    why: str


def find_obstacles(
    network: Network, ledger: Propagation, components: Components, layers: tuple[Layer, ...]
) -> tuple[Blocked, ...]:
    """Ops that pinned something, each with the layers it held. One that held none is left out.

    A weight that is pinned before any op made it a layer would have been one, if it is a matrix or a kernel.
    """
    if not ledger.blocks:
        return ()
    names = {layer.weight: layer.name for layer in layers}
    for name, parameter in network.parameters():
        if parameter.dim() > 1:
            names.setdefault(name, name.removesuffix(".weight"))
    found: dict[tuple[str, str], tuple[set[str], list[Labels]]] = {}
    for block in ledger.blocks:
        weights, labels = found.setdefault((block.op, block.why), (set(), []))
        weights |= set(block.weights)
        labels.append(block.labels)
    for weights, labels in found.values():
        touched = np.zeros(len(components.loose), dtype=np.bool_)
        for numbers in labels:
            touched[components.loose[numbers[numbers > 0]]] = True
        weights |= {weight for start, stop, weight in ledger.minted if touched[components.loose[start:stop]].any()}
    return tuple(
        Blocked(op, tuple(layer for weight, layer in names.items() if weight in weights), why)
        for (op, why), (weights, _) in found.items()
        if weights & names.keys()
    )
