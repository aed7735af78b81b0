"""How far each granularity gets on a network, with the default rules."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod

import numpy as np

from service.contract.recipe import SPARSE, STRUCTURED, Prune, Structured
from service.contract.resources import GranularityReach, Reach, SparseReach
from worker.graph.memory import ActivationMemory
from worker.graph.network import Network
from worker.graph.sizes import FileSize
from worker.graph.structure import Selection, Structure
from worker.pruning.allocation import limits_of
from worker.pruning.budget import uniform
from worker.pruning.sparse.layers import sparse_layers
from worker.pruning.sparse.patterns import kept_by_pattern

__all__ = ["by_granularity", "curve", "sparse_reach"]

_KEEPS = (*(tenths / 10 for tenths in range(9, 0, -1)), 0.0)


def curve(
    structure: Structure, size: FileSize, memory: ActivationMemory, granularity: Sequence[Structured]
) -> list[Reach]:
    """What is left when every group of these roles keeps 0.9 … 0.1 of its channels, and in the end the least that the
    default rules allow. Of blocks the same share stays, spread over the depth."""
    limits = limits_of(structure, Prune(granularity=list(granularity)), lambda _code, _detail: None)
    dense = structure.cost(structure.everything())
    points = []
    for keep in _KEEPS:
        selection = uniform(structure, limits, keep)
        for group in structure.groups:
            if group.role not in granularity:
                selection[group.components] = True
        _thin_out(structure, selection, keep if "layer" in granularity else 1.0)
        left, kept = structure.cost(selection), structure.kept_channels(selection)
        points.append(
            Reach(
                keep=keep,
                macs=left.macs / max(dense.macs, 1.0),
                params=left.params / max(dense.params, 1.0),
                size_bytes=round(float(size.bytes(kept))),
                memory_bytes=round(float(memory.of(kept))),
            )
        )
    return points


def _thin_out(structure: Structure, selection: Selection, keep: float) -> None:
    """Leave that share of the blocks, rounded up, in equal distances."""
    components = [block.component for block in structure.blocks]
    stays = int(np.ceil(keep * len(components) - 1e-9))
    kept = {components[round(position)] for position in np.linspace(0, len(components) - 1, stays)} if stays else set()
    for component in components:
        selection[component] = component in kept


def by_granularity(structure: Structure, size: FileSize, memory: ActivationMemory) -> Iterator[GranularityReach]:
    """One for every set of the granularities that the network has units of, small sets first."""
    units = {role: sum(group.channels for group in structure.groups if group.role == role) for role in STRUCTURED}
    there: list[Structured] = [role for role in STRUCTURED if units[role]]
    for number in range(1, len(there) + 1):
        for roles in combinations(there, number):
            reach = curve(structure, size, memory, roles)
            yield GranularityReach(granularity=list(roles), units=sum(units[role] for role in roles), reach=reach)


def sparse_reach(structure: Structure, network: Network) -> Iterator[SparseReach]:
    """One for every granularity of single weights that some layer can have. A layer keeps one weight at least."""
    shapes = {name: tuple(parameter.shape) for name, parameter in network.parameters()}
    for granularity in SPARSE:
        prune = Prune(granularity=[granularity])
        kept, of = prune.n_m
        layers, _ = sparse_layers(structure, network, prune, 1 - kept / of)
        zeros = weights = 0
        for layer in layers:
            entries, inputs = prod(shapes[layer.weight]), shapes[layer.weight][layer.input_axis]
            weights += entries
            if granularity == "n:m":
                zeros += entries // inputs * (inputs - kept_by_pattern(inputs, kept, of))
            else:
                zeros += entries - 1
        if weights:
            yield SparseReach(granularity=granularity, layers=len(layers), weights=weights, most=zeros / weights)
