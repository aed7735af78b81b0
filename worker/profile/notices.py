"""What the owner of a network should know before pruning it."""

from collections.abc import Iterator, Sequence

import torch

from service.contract.resolve_prune import DEFAULT_STRUCTURED
from service.contract.resources import Notice
from worker.graph.network import Network
from worker.graph.shapes import example_shape
from worker.graph.structure import Structure

__all__ = ["notices"]

aten = torch.ops.aten

_BLOCK = 8
_OTHER_NORMS = frozenset(
    {aten.layer_norm.default, aten.group_norm.default, aten.rms_norm.default, aten.instance_norm.default}
)


def notices(network: Network, structure: Structure, *, folded: bool) -> list[Notice]:
    """`folded` says that there is no batch norm."""
    return [
        *(_folded(network, structure) if folded else ()),
        *_nothing(structure),
        *_uneven(structure),
        *_normalised(structure),
        *_free(network),
    ]


def _folded(network: Network, structure: Structure) -> Iterator[Notice]:
    convolutions = any(layer.op.startswith("conv") for layer in structure.layers)
    if convolutions and not any(node.target in _OTHER_NORMS for node in network.module.graph.nodes):
        yield Notice(
            code="batch-norm-folded",
            detail="the convolutions have no batch norm: the exporter folded it, or there was none. "
            "Fine-tuning recovers less without it; upload a .pt2 made by torch.export if you can",
        )


def _nothing(structure: Structure) -> Iterator[Notice]:
    roles = {group.role for group in structure.groups}
    if not roles:
        yield Notice(code="nothing-prunable", detail="no channel of this model can be removed")
    elif not roles & set(DEFAULT_STRUCTURED):
        named = _some(sorted(f"'{role}'" for role in roles), 5)
        yield Notice(
            code="nothing-prunable-by-default",
            detail=f"channels, heads and neurons of this model cannot be removed; name {named} in prune.granularity",
        )


def _uneven(structure: Structure) -> Iterator[Notice]:
    uneven = [layer.name for layer in structure.layers if layer.prunable and layer.channels % _BLOCK]
    if uneven:
        yield Notice(
            code="channels-not-in-blocks",
            detail=f"{len(uneven)} layers have channel counts that are no multiple of {_BLOCK} ({_some(uneven, 3)}); "
            "ONNX Runtime computes in blocks, so the last one is partly wasted",
        )


def _normalised(structure: Structure) -> Iterator[Notice]:
    widths = [f"{group.id} ({group.channels})" for group in structure.groups if group.role == "embedding"]
    if widths:
        yield Notice(
            code="width-is-normalized",
            detail=f"a norm runs over the width of {_some(widths, 3)}: removing some of it changes what all others are "
            "divided by. It is left whole unless prune.granularity names 'embedding'",
        )


def _free(network: Network) -> Iterator[Notice]:
    free = [spec for spec in network.inputs if any(isinstance(size, str) for size in spec.shape[1:])]
    if free:
        shapes = ", ".join(f"`{spec.name}` of shape {example_shape(spec)}" for spec in free)
        yield Notice(
            code="free-dimensions", detail=f"the size of inputs is free; costs are for one sample with {shapes}"
        )


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
