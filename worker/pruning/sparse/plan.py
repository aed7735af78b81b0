"""What became of each weight of a sparse network, as plain data."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from service.contract.recipe import Prune, Sparse
from worker.graph.network import Network
from worker.graph.structure import Structure
from worker.pruning.sparse.layers import sparse_layers

__all__ = ["SparseLayerPlan", "SparsePlan", "sparse_plan"]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SparseLayerPlan(_Plain):
    """A layer. `granularity` is None where it stays dense, and `why_dense` says why."""

    name: str
    weight: str
    output_axis: int
    granularity: Sparse | None
    entries: int
    zeros: int
    why_dense: str | None

    @property
    def density(self) -> float:
        return 1 - self.zeros / self.entries


class SparsePlan(_Plain):
    """All layers with a weight, in the order of the network; counts are of the layers that take part."""

    requested: float
    entries: int
    zeros: int
    layers: list[SparseLayerPlan]

    @property
    def sparsity(self) -> float:
        return self.zeros / self.entries


def sparse_plan(
    structure: Structure, network: Network, masks: Mapping[str, Tensor], prune: Prune, sparsity: float
) -> SparsePlan:
    """`masks` of `network` as `sparsify` made them, in numbers; `sparsity` is what the recipe asks for."""
    taken, left = sparse_layers(structure, network, prune, sparsity)
    granularities = {layer.weight: layer.granularity for layer in taken}
    reasons = {layer.weight: layer.why for layer in left}
    entries = {name: parameter.numel() for name, parameter in network.parameters()}
    layers = [
        SparseLayerPlan(
            name=layer.name,
            weight=layer.weight,
            output_axis=layer.output_axis,
            granularity=granularities.get(layer.weight),
            entries=entries[layer.weight],
            zeros=int((~masks[layer.weight]).sum()) if layer.weight in masks else 0,
            why_dense=reasons.get(layer.weight),
        )
        for layer in structure.layers
        if layer.weight in entries
    ]
    parts = [layer for layer in layers if layer.granularity is not None]
    return SparsePlan(
        requested=sparsity,
        entries=sum(layer.entries for layer in parts),
        zeros=sum(layer.zeros for layer in parts),
        layers=layers,
    )
