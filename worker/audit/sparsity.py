"""The zeros of a finished network, counted in its weights."""

from torch import Tensor

from service.contract.report import LayerSparsity, Sparsity
from worker.audit.effective import contributing
from worker.graph.network import Network
from worker.pruning.sparse.plan import SparseLayerPlan, SparsePlan

__all__ = ["measured_sparsity"]


def measured_sparsity(network: Network, plan: SparsePlan) -> Sparsity:
    """Direct and effective sparsity of `network`, in its weights as they are now and not as they were planned."""
    parameters = {name: parameter.detach() for name, parameter in network.parameters()}
    useful = contributing(network, [layer.weight for layer in plan.layers])
    layers = [_layer(layer, parameters[layer.weight], (useful or {}).get(layer.weight)) for layer in plan.layers]
    parts = [layer for layer in layers if layer.granularity is not None]
    entries, zeros = sum(layer.entries for layer in parts), sum(layer.zeros for layer in parts)
    counted = [layer.contributing for layer in parts if layer.contributing is not None]
    return Sparsity(
        requested=plan.requested,
        entries=entries,
        zeros=zeros,
        sparsity=zeros / entries,
        of_all_parameters=zeros / network.parameter_count(),
        effective=1 - sum(counted) / entries if len(counted) == len(parts) else None,
        empty_units=sum(layer.empty_units for layer in layers),
        layers=layers,
    )


def _layer(layer: SparseLayerPlan, weight: Tensor, useful: Tensor | None) -> LayerSparsity:
    filters = weight.movedim(layer.output_axis, 0).flatten(1)
    return LayerSparsity(
        name=layer.name,
        granularity=layer.granularity,
        entries=weight.numel(),
        zeros=int((weight == 0).sum()),
        contributing=None if useful is None else int(useful.sum()),
        units=len(filters),
        empty_units=int((filters == 0).all(1).sum()),
        why_dense=layer.why_dense,
    )
