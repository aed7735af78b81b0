"""Channels that batch norm turns down matter little."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, fx

from worker.errors import JobFailed
from worker.pruning.scoring import Each, Scene, Scores, present, weights_of_layers
from worker.pruning.units import joined, member

__all__ = ["BatchNorm"]


class BatchNorm:
    """`I = |γ|`. Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017, §3.
    Channels without batch norm are kept as long as others are left. Raises JobFailed when there is none.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        structure = scene.structure
        parameters = dict(scene.network.parameters())
        members = []
        for name in {name for name in map(_scale, structure.graph.nodes) if name is not None}:
            scale = parameters.get(name)
            if scale is None:  # it went with its block
                continue
            for claimed in structure.claims.get(name, ()):
                numbers = present(claimed.reshape(-1), scene.selection)
                members.append(member(numbers, scale.detach().abs().double().cpu().numpy()))
        touched = np.zeros(structure.component_count + 1, dtype=np.bool_)
        for components, _ in members:
            touched[components] = True
        if not touched.any():
            raise JobFailed(
                "the criterion batchnorm needs batch norm after the layers that can be pruned, and this model has "
                "none (an ONNX file usually has it folded into the convolutions); use magnitude or taylor"
            )
        squares = Each(weights_of_layers(scene), torch.square)
        scores = joined(
            replace(scene, prune=scene.prune.model_copy(update={"normalization": "none"})), members, squares
        )
        for block in structure.blocks:
            touched[block.component] = True
        return np.where(touched, scores, np.inf)

    def entries(self, _scene: Scene) -> dict[str, Tensor]:
        raise JobFailed("the criterion batchnorm scores whole channels and no single weights; use magnitude or taylor")


def _scale(node: fx.Node) -> str | None:
    """Name of the scale of a batch norm."""
    if node.target is not torch.ops.aten.batch_norm.default or not isinstance(node.args[1], fx.Node):
        return None
    return str(node.args[1].target)
