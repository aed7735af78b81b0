"""Where networks run."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Literal

import torch

from worker.graph.network import Network

__all__ = ["CPU", "placed", "resolve_device"]

CPU = torch.device("cpu")


def resolve_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """`auto` takes a GPU where torch sees one. Raises RuntimeError when `cuda` is asked for and there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise RuntimeError("device `cuda` is configured, but torch sees no GPU: set it to `auto` or `cpu`")
    return torch.device("cuda") if available and name != "cpu" else CPU


@contextmanager
def placed(device: torch.device, *networks: Network | None) -> Iterator[None]:
    """Networks lie on the CPU between stages; inside this block they lie on `device`. May be nested.

    Weights move, and so do the `device` arguments of ops that make tensors (`aten.arange`, `aten.full`).
    """
    moved = [network for network in networks if network is not None and _device_of(network).type != device.type]
    for network in moved:
        _move(network, device)
    try:
        yield
    finally:
        for network in moved:
            _move(network, CPU)


def _device_of(network: Network) -> torch.device:
    weight = next(chain(network.module.parameters(), network.module.buffers()), None)
    return CPU if weight is None else weight.device


def _move(network: Network, device: torch.device) -> None:
    module = network.module
    module.to(device)
    makers = [node for node in module.graph.nodes if node.kwargs.get("device") is not None]
    for node in makers:
        node.kwargs = {**node.kwargs, "device": device}
    if makers:
        module.recompile()
