"""What was removed, layer by layer: bars in per cent of the widest layer."""

from dataclasses import dataclass

from service.contract.report import LayerChange

__all__ = ["LayerBar", "layer_chart"]


@dataclass(frozen=True)
class LayerBar:
    """`before` and `after` are lengths of bars, `kept` the share of channels left in per cent."""

    data: LayerChange
    before: float
    after: float
    kept: float


def layer_chart(layers: list[LayerChange]) -> list[LayerBar]:
    """In the order of the network."""
    widest = max((layer.channels for layer in layers), default=1) or 1
    return [
        LayerBar(
            data=layer,
            before=100 * layer.channels / widest,
            after=100 * layer.channels_kept / widest,
            kept=100 * layer.channels_kept / max(layer.channels, 1),
        )
        for layer in layers
    ]
