"""The profile of a network, put together."""

from typing import Literal

import torch

from service.contract.recipe import STRUCTURED
from service.contract.resolve_prune import DEFAULT_STRUCTURED
from service.contract.resources import (
    BlockedOp,
    LayerInfo,
    ModelProfile,
    Prunable,
    PrunableBlock,
    PrunableGroup,
)
from worker.graph.memory import ActivationMemory, activation_memory
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.sizes import FileSize, file_size
from worker.graph.structure import Structure, analyze
from worker.profile.notices import notices
from worker.profile.reach import by_granularity, curve, sparse_reach

__all__ = ["profile"]

aten = torch.ops.aten


def profile(network: Network) -> ModelProfile:
    """Analyse `network`. Costs are for one sample, ratios for the rules of the default recipe.

    Raises UnsupportedModel when the network does not run on an input that fits its own description.
    """
    structure = analyze(network, example_inputs(network))
    size, memory = file_size(network, structure), activation_memory(network, structure)
    whole = structure.kept_channels(structure.everything())
    normalization = _normalization(network)
    return ModelProfile(
        format=network.source,
        inputs=[spec.info for spec in network.inputs],
        outputs=[spec.info for spec in network.outputs],
        parameters=network.parameter_count(),
        macs=round(structure.cost(structure.everything()).macs),
        layers=[
            LayerInfo(
                name=layer.name,
                op=layer.op,
                shape=list(layer.weight_shape),
                parameters=layer.parameters,
                macs=layer.macs,
                prunable=layer.prunable,
            )
            for layer in structure.layers
        ],
        prunable=_prunable(structure, network, size, memory),
        blocked=[
            BlockedOp(op=blocked.op, layers=list(blocked.layers), why=blocked.why) for blocked in structure.blocked
        ],
        normalization=normalization,
        size_bytes=round(float(size.bytes(whole))),
        memory_bytes=round(float(memory.of(whole))),
        warnings=notices(network, structure, folded=normalization == "folded_or_none"),
    )


def _prunable(structure: Structure, network: Network, size: FileSize, memory: ActivationMemory) -> Prunable:
    channels = [group for group in structure.groups if group.role != "layer"]
    default = tuple(name for name in STRUCTURED if name in DEFAULT_STRUCTURED)
    *reach, least = curve(structure, size, memory, default)
    return Prunable(
        components=sum(group.channels for group in channels),
        groups=[
            PrunableGroup(id=group.id, layers=list(group.layers), channels=group.channels, role=group.role)
            for group in channels
        ],
        reach=reach,
        min_macs=least.macs,
        min_params=least.params,
        blocks=_blocks(structure),
        by_granularity=list(by_granularity(structure, size, memory)),
        sparse=list(sparse_reach(structure, network)),
    )


def _blocks(structure: Structure) -> list[PrunableBlock]:
    dense = structure.cost(structure.everything())
    groups = [group for group in structure.groups if group.role == "layer"]
    blocks = []
    for group, block in zip(groups, structure.blocks, strict=True):
        selection = structure.everything()
        selection[block.component] = False
        left = structure.cost(selection)
        blocks.append(
            PrunableBlock(
                id=group.id,
                name=block.name,
                layers=list(block.layers),
                macs=round(dense.macs - left.macs),
                params=round(dense.params - left.params),
            )
        )
    return blocks


def _normalization(network: Network) -> Literal["batch_norm", "folded_or_none"]:
    targets = {node.target for node in network.module.graph.nodes}
    return "batch_norm" if aten.batch_norm.default in targets else "folded_or_none"
