"""The weights of a network as plain tensors: to copy, keep and restore them."""

import copy
import hashlib
from itertools import chain

import torch
from torch import Tensor

from worker.graph.network import Network

__all__ = ["copy_network", "load_weights", "weights_digest", "weights_of"]


def copy_network(network: Network) -> Network:
    """An independent copy: own graph, own weights, ties between weights kept. Costs milliseconds plus the weights."""
    return network.with_module(copy.deepcopy(network.module))


def weights_of(network: Network) -> dict[str, Tensor]:
    """Parameters and buffers by name, detached but not copied; a weight with two names appears once."""
    module = network.module
    return {name: tensor.detach() for name, tensor in chain(module.named_parameters(), module.named_buffers())}


@torch.no_grad()
def load_weights(network: Network, weights: dict[str, Tensor]) -> None:
    """Overwrite the weights in place. `weights` has the names and shapes of `weights_of`."""
    for name, tensor in weights_of(network).items():
        tensor.copy_(weights[name])


def weights_digest(network: Network) -> str:
    """SHA-256 of names, shapes and values: two networks with one digest train alike."""
    digest = hashlib.sha256()
    for name, tensor in weights_of(network).items():
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
