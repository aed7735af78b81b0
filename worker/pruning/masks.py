"""Masks as data: read from weights, counted, checked."""

from collections.abc import Iterable

from worker.graph.network import Network
from worker.training.masks import Masks, masked

__all__ = ["Masks", "masked", "masks_of", "zeros_of"]


def masks_of(network: Network, names: Iterable[str]) -> Masks:
    """Masks that keep every weight but exact zeros, for the weights called `names`."""
    parameters = dict(network.parameters())
    return {name: parameters[name].detach() != 0 for name in names}


def zeros_of(masks: Masks) -> int:
    """Number of weights that the masks set to zero."""
    return sum(mask.numel() - int(mask.count_nonzero()) for mask in masks.values())
