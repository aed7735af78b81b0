"""The control: what any criterion has to beat."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from worker.pruning.scoring import Scene, Scores, weights_of_layers

__all__ = ["Random"]


class Random:
    """`I ~ U(0, 1)`, by the seed of the job. With the allocation `global` layers lose at random too; to keep the
    densities of another criterion compare within `uniform`, `erk` or `lamp` (Su et al., Sanity-Checking Pruning
    Methods, NeurIPS 2020, §3)."""

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return np.random.default_rng(scene.seed).random(scene.structure.component_count + 1)

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(scene.seed)
        return {
            name: torch.rand(weight.shape, generator=generator) for name, weight in weights_of_layers(scene).items()
        }
