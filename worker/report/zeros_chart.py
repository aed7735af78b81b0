"""Zeros, layer by layer: bars in per cent of the weights of the layer."""

from dataclasses import dataclass

from service.contract.report import LayerSparsity, Sparsity

__all__ = ["ZeroBar", "zeros_chart"]


@dataclass(frozen=True)
class ZeroBar:
    """`kept` is the share of weights that are not zero in per cent, `useful` that of those which do something."""

    data: LayerSparsity
    kept: float
    useful: float
    description: str


def zeros_chart(sparsity: Sparsity) -> list[ZeroBar]:
    """In the order of the network."""
    return [_bar(layer) for layer in sparsity.layers]


def _bar(layer: LayerSparsity) -> ZeroBar:
    kept = layer.entries - layer.zeros
    useful = kept if layer.contributing is None else layer.contributing
    idle = f", {kept - useful} of the others without effect" if kept > useful else ""
    return ZeroBar(
        data=layer,
        kept=100 * kept / layer.entries,
        useful=100 * useful / layer.entries,
        description=f"{layer.name}: {layer.zeros} of {layer.entries} weights are zero{idle}",
    )
