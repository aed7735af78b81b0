"""The control: what any criterion has to beat."""

from typing import ClassVar

import numpy as np

from worker.pruning.scoring import Scene, Scores

__all__ = ["Random"]


class Random:
    """`I ~ U(0, 1)`, by the seed of the job. Layers lose their channels at random too."""

    needs_data: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = False
    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return np.random.default_rng(scene.seed).random(scene.structure.component_count + 1)
