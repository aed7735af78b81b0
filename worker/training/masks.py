"""Weights that are zero, and stay zero through training."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from worker.graph.network import Network
from worker.training.weights import copy_network

__all__ = ["Masks", "ZeroKeeper", "masked", "masks_digest"]

Masks = dict[str, Tensor]
"""Boolean tensors of the shape of their weight, by its name: True is kept, False is zero."""


def masked(network: Network, masks: Mapping[str, Tensor]) -> Network:
    """A copy of `network` whose weights are exactly zero wherever their mask is False."""
    copied = copy_network(network)
    with torch.no_grad():
        for weight, mask in _pairs(copied, masks):
            weight.masked_fill_(~mask.to(weight.device), 0.0)
    return copied


class ZeroKeeper:
    """Holds the masked weights of one network at zero, whatever the optimizer.

    A masked gradient never reaches momentum or second moments, whose state starts at zero, and decay leaves a zero
    alone: SGD and AdamW both move a masked weight by exactly 0. The weights are masked as well, so that a state from
    elsewhere cannot leak in.
    """

    def __init__(self, network: Network, masks: Mapping[str, Tensor]) -> None:
        """Raises ValueError for a mask of a weight that the network does not have, or has in another shape."""
        pairs = _pairs(network, masks)
        self._weights = [weight for weight, _ in pairs]
        self._gone = [~mask.to(weight.device) for weight, mask in pairs]

    def zero_gradients(self) -> None:
        """After the backward pass, before the step."""
        for weight, gone in zip(self._weights, self._gone, strict=True):
            if weight.grad is not None:
                weight.grad.masked_fill_(gone, 0.0)  # not a product: 0 · inf would be NaN

    @torch.no_grad()
    def zero_weights(self) -> None:
        """After the step."""
        for weight, gone in zip(self._weights, self._gone, strict=True):
            weight.masked_fill_(gone, 0.0)


def _pairs(network: Network, masks: Mapping[str, Tensor]) -> list[tuple[torch.nn.Parameter, Tensor]]:
    parameters = dict(network.parameters())
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            found = tuple(parameters[name].shape) if name in parameters else "absent"
            raise ValueError(f"the mask of {name} has shape {tuple(mask.shape)}, the weight is {found}")
    return [(parameters[name], mask) for name, mask in masks.items()]


def masks_digest(masks: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and values: what a training run with these masks follows from."""
    digest = hashlib.sha256()
    for name in sorted(masks):
        digest.update(f"{name}{tuple(masks[name].shape)}".encode())
        digest.update(masks[name].cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
