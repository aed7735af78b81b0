"""Small weights matter little."""

from typing import ClassVar

import numpy as np

from worker.pruning.scoring import Scene, Scores, gather

__all__ = ["Magnitude"]


class Magnitude:
    """Norm of the filters that make a channel and of the kernels that read it.

    `I = mean over members of Σ|w|^p ÷ (mean of Σ|w|^p over the channels of that member)`, p = 1 or 2. L1: Li et al.,
    Pruning Filters for Efficient ConvNets, ICLR 2017, §3.1. Coupled members and the division by their mean: Fang et
    al., DepGraph, CVPR 2023, §3.3. Parameters of one axis (scales, shifts) do not count.
    """

    needs_data: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False
    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        power = 1 if scene.norm == "l1" else 2
        weights = {layer.weight for layer in scene.structure.layers}
        importances = {
            name: parameter.detach().abs() ** power for name, parameter in scene.network.parameters() if name in weights
        }
        total, number = gather(scene, importances)
        return total / np.maximum(number, 1.0)
