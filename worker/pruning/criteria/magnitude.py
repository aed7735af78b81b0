"""Small weights matter little."""

from typing import ClassVar

import torch

from worker.pruning.scoring import Each, Scene, Scores, weights_of_layers
from worker.pruning.units import units_of

__all__ = ["Magnitude"]


class Magnitude:
    """`I(w) = |w|^p`, p = 1 or 2 by `prune.norm`; of a unit `Σ|w|^p` over the filters that make it and the kernels
    that read it.

    Weights: Han et al., Learning both Weights and Connections, NeurIPS 2015, §3. Units, L1: Li et al., Pruning Filters
    for Efficient ConvNets, ICLR 2017, §3.1. Parameters of one axis (scales, shifts) do not count.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> Each:
        return Each(weights_of_layers(scene), torch.abs if scene.prune.norm == "l1" else torch.square)
