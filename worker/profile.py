"""What a network is, what can be removed from it, and how far: the description shown after an upload."""

from typing import Literal

import torch

from service.contract.recipe import Prune
from service.contract.resources import (
    BlockedOp,
    LayerInfo,
    ModelProfile,
    Notice,
    Prunable,
    PrunableGroup,
    Reach,
)
from worker.graph.network import Network
from worker.graph.shapes import example_inputs, example_shape
from worker.graph.structure import Structure, analyze
from worker.pruning.allocation import Limits, limits_of
from worker.pruning.budget import uniform

__all__ = ["profile"]

aten = torch.ops.aten

_BLOCK = 8


def profile(network: Network) -> ModelProfile:
    """Analyse `network`. Costs are for one sample, ratios for the rules of the default recipe.

    Raises UnsupportedModel when the network does not run on an input that fits its own description.
    """
    structure = analyze(network, example_inputs(network))
    limits = limits_of(structure, Prune(), lambda _code, _detail: None)
    dense = structure.cost(structure.everything())
    reach = [_reach(structure, limits, tenths / 10) for tenths in range(9, 0, -1)]
    least = _reach(structure, limits, 0.0)
    return ModelProfile(
        format=network.source,
        inputs=[spec.info for spec in network.inputs],
        outputs=[spec.info for spec in network.outputs],
        parameters=network.parameter_count(),
        macs=round(dense.macs),
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
        prunable=Prunable(
            components=sum(group.channels for group in structure.groups),
            groups=[
                PrunableGroup(id=group.id, layers=list(group.layers), channels=group.channels)
                for group in structure.groups
            ],
            reach=reach,
            min_macs=least.macs,
            min_params=least.params,
        ),
        blocked=[
            BlockedOp(op=blocked.op, layers=list(blocked.layers), why=blocked.why) for blocked in structure.blocked
        ],
        normalization=_normalization(network),
        warnings=_warnings(network, structure),
    )


def _reach(structure: Structure, limits: Limits, keep: float) -> Reach:
    dense = structure.cost(structure.everything())
    left = structure.cost(uniform(structure, limits, keep))
    return Reach(keep=keep, macs=left.macs / max(dense.macs, 1.0), params=left.params / max(dense.params, 1.0))


def _normalization(network: Network) -> Literal["batch_norm", "folded_or_none"]:
    targets = {node.target for node in network.module.graph.nodes}
    return "batch_norm" if aten.batch_norm.default in targets else "folded_or_none"


def _warnings(network: Network, structure: Structure) -> list[Notice]:
    notices = []
    convolutions = [layer for layer in structure.layers if layer.op.startswith("conv")]
    others = {aten.layer_norm.default, aten.group_norm.default, aten.rms_norm.default, aten.instance_norm.default}
    normalized = any(node.target in others for node in network.module.graph.nodes)
    if convolutions and not normalized and _normalization(network) == "folded_or_none":
        notices.append(
            Notice(
                code="batch-norm-folded",
                detail="the convolutions have no batch norm: the exporter folded it, or there was none. "
                "Fine-tuning recovers less without it; upload a .pt2 made by torch.export if you can",
            )
        )
    if not structure.groups:
        notices.append(Notice(code="nothing-prunable", detail="no channel of this model can be removed"))
    uneven = [layer.name for layer in structure.layers if layer.prunable and layer.channels % _BLOCK]
    if uneven:
        names = ", ".join(uneven[:3]) + (", …" if len(uneven) > 3 else "")
        notices.append(
            Notice(
                code="channels-not-in-blocks",
                detail=f"{len(uneven)} layers have channel counts that are no multiple of {_BLOCK} ({names}); "
                "ONNX Runtime computes in blocks, so the last one is partly wasted",
            )
        )
    free = [spec for spec in network.inputs if any(isinstance(size, str) for size in spec.shape[1:])]
    if free:
        shapes = ", ".join(f"`{spec.name}` of shape {example_shape(spec)}" for spec in free)
        notices.append(
            Notice(code="free-dimensions", detail=f"the size of inputs is free; costs are for one sample with {shapes}")
        )
    return notices
