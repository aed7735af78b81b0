"""Measures whether a cut is exact: against the masked dense network, and the dense one with zeroed weights."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.graph.check import self_check
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove

__all__ = ["Cut", "cut", "draw", "share", "zeroed_error"]


@dataclass(frozen=True)
class Cut:
    """Errors are relative to the largest answer. `zeroed` is None where a removed channel passes a normalisation."""

    masked: float
    zeroed: float | None
    change: float
    """Largest difference between the pruned and the dense answers, relative to the largest dense one."""
    pruned: Network


def draw(structure: Structure, part: float, seed: int, *, statistics: bool = True) -> Selection:
    """Removes a random part of the channels, and no slot as a whole; without `statistics` none of those that a mean or
    a variance runs over."""
    keep = np.random.default_rng(seed).random(structure.component_count + 1) > part
    keep[0] = True
    for group in structure.groups:
        if group.statistics and not statistics:
            keep[group.components] = True
    for block in structure.blocks:
        keep[block.component] = True
    for slot in structure.slots:
        if len(slot.numbers) and not keep[slot.numbers].any():
            keep[slot.numbers[0]] = True
    return keep


def cut(network: Network, structure: Structure, keep: Selection, inputs: tuple[Tensor, ...]) -> Cut:
    """Prunes and compares on `inputs`. The masked network is run on one sample where labels hold for one only."""
    pruned = remove(network, structure, keep)
    one = tuple(tensor[:1] for tensor in inputs) if structure.merges_batch(network) else inputs
    normed = any(group.statistics and not keep[group.components].all() for group in structure.groups)
    with torch.no_grad():
        change = _relative(pruned(*inputs), network(*inputs))
    return Cut(
        masked=self_check(network, pruned, structure, keep, one),
        zeroed=None if normed else zeroed_error(network, structure, keep, pruned, inputs),
        change=change,
        pruned=pruned,
    )


def zeroed_error(
    network: Network, structure: Structure, keep: Selection, pruned: Network, inputs: tuple[Tensor, ...]
) -> float:
    """Largest relative difference to the dense network with every removed entry of a parameter set to 0."""
    zeroed = deepcopy(network.module)
    parameters = dict(zeroed.named_parameters())
    with torch.no_grad():
        for name in parameters.keys() & structure.claims.keys():
            for numbers in structure.claims[name]:
                parameters[name].masked_fill_(~torch.from_numpy(keep[numbers]), 0)
        return _relative(pruned(*inputs), zeroed(*inputs))


def _relative(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> float:
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in zip(found, wanted, strict=True))


def share(network: Network, structure: Structure) -> float:
    """The part of all parameters that goes away when of every group one channel is kept."""
    keep = structure.everything()
    for group in structure.groups:
        keep[group.components[1:]] = False
    for block in structure.blocks:
        keep[block.component] = True
    return 1 - structure.cost(keep).params / network.parameter_count()


def remeasured(pruned: Network) -> tuple[float, float]:
    """MACs and parameters of a pruned network, analysed anew."""
    structure = analyze(pruned, example_inputs(pruned))
    cost = structure.cost(structure.everything())
    return cost.macs, cost.params
