"""Channels that batch norm turns down matter little."""

from typing import ClassVar

import numpy as np
import torch
from torch import fx

from worker.errors import JobFailed
from worker.pruning.scoring import Scene, Scores, present

__all__ = ["BatchNorm"]


class BatchNorm:
    """`I = mean over members of |γ|`. Liu et al., Learning Efficient Convolutional Networks through Network Slimming,
    ICCV 2017, §3. Channels without batch norm are kept as long as others are left. Raises JobFailed when there is none.
    """

    needs_data: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False
    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        structure = scene.structure
        total, number = np.zeros(structure.component_count + 1), np.zeros(structure.component_count + 1)
        parameters = dict(scene.network.parameters())
        for name in {name for name in map(_scale, structure.graph.nodes) if name is not None}:
            for claimed in structure.claims.get(name, ()):
                numbers = present(claimed.reshape(-1), scene.selection)
                np.add.at(total, numbers, parameters[name].detach().abs().double().cpu().numpy())
                np.add.at(number, numbers, 1.0)
        if not number[1:].any():
            raise JobFailed(
                "the criterion batchnorm needs batch norm after the layers that can be pruned, and this model has "
                "none (an ONNX file usually has it folded into the convolutions); use magnitude or taylor"
            )
        return np.where(number > 0, total / np.maximum(number, 1.0), np.inf)


def _scale(node: fx.Node) -> str | None:
    """Name of the scale of a batch norm."""
    if node.target is not torch.ops.aten.batch_norm.default or not isinstance(node.args[1], fx.Node):
        return None
    return str(node.args[1].target)
