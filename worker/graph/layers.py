"""The layers of a network: ops with a weight that makes channels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.graph.cost import CostModel
from worker.graph.network import Network
from worker.graph.propagation import Propagation
from worker.graph.slots import SlotTable
from worker.graph.tensors import tensors_of

__all__ = ["Layer", "LayerCost", "find_layers"]


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
    output_axis: int
    """Axis of the weight along which its output channels lie."""

    @property
    def group(self) -> str | None:
        """The group of most of its output channels."""
        return self.groups[0] if self.groups else None


@dataclass(frozen=True)
class LayerCost:
    """A layer under a selection. All is 0 where it is `gone`, with the blocks that it was in."""

    channels: int
    macs: int
    params: int
    gone: bool


def find_layers(
    network: Network,
    ledger: Propagation,
    table: SlotTable,
    kinds: list[npt.NDArray[np.int64]],
    ids: list[str],
    model: CostModel,
    whole: npt.NDArray[np.float64],
) -> tuple[Layer, ...]:
    """Layers in graph order. `kinds[i]` are the components of the group `ids[i]`; `whole` is (groups,), what each group
    of the model has."""
    counts = model.counts(whole)
    macs = model.macs.by_layer(counts, len(ledger.layers))
    params = model.params.by_layer(counts, len(ledger.layers))
    kind_of = np.full(table.touches.shape[0], -1, dtype=np.int64)
    for index, members in enumerate(kinds):
        kind_of[members] = index
    tensors = tensors_of(network.module)
    layers = []
    for index, (weight, op) in enumerate(ledger.layers.items()):
        axis = ledger.output_axes[weight]
        slot = table.find(weight, axis)
        kind = kind_of[table.slots[slot].numbers] if slot is not None else np.zeros(0, dtype=np.int64)
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
                groups=tuple(ids[found] for found in _by_share(kind[kind >= 0])),
                slot=slot,
                output_axis=axis,
            )
        )
    return tuple(layers)


def _by_share(kinds: npt.NDArray[np.int64]) -> list[int]:
    """The distinct numbers, the most frequent first."""
    if len(kinds) and kinds[0] == kinds[-1] and (kinds == kinds[0]).all():
        return [int(kinds[0])]
    found, first, share = np.unique(kinds, return_index=True, return_counts=True)
    return [int(number) for number in found[np.lexsort((first, -share))]]
