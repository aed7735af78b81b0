"""The optimizer, and its state as plain tensors."""

from typing import Any

import torch
from torch import Tensor

from service.contract.recipe import Finetune
from worker.graph.network import Network

__all__ = ["build_optimizer", "load_optimizer", "optimizer_tensors", "set_learning_rate"]


def build_optimizer(network: Network, settings: Finetune) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW. Fused: one kernel for all weights instead of one per weight.

    Weights of one dimension (biases, scales of batch and layer norm) are not decayed: they are few, do not overfit,
    and pulling a norm's scale to zero switches channels off that the prune has just decided to keep.
    """
    parameters = [parameter for _, parameter in network.parameters() if parameter.is_floating_point()]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, fused=True)
    return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, nesterov=settings.momentum > 0, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(network: Network, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of every weight (momentum, second moments, step counts) as `KEY/WEIGHT`."""
    return {
        f"{key}/{name}": value
        for name, parameter in network.parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer(network: Network, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`, onto the devices of the weights."""
    parameters = dict(network.parameters())
    for path, value in tensors.items():
        key, _, name = path.partition("/")
        optimizer.state[parameters[name]][key] = value.to(parameters[name].device)
