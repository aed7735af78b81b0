"""Weights that training moves towards zero matter little."""

from typing import ClassVar

from torch import Tensor

from worker.errors import JobFailed
from worker.pruning.scoring import Scene, Scores, weights_of_layers
from worker.pruning.units import units_of

__all__ = ["Movement"]


class Movement:
    """`I(w) = −Σ_t w_t · ∂L/∂w_t`, added up over the updates since the last step of the prune: Sanh et al., Movement
    Pruning, NeurIPS 2020, eq. 1 and §4. Before there was any training it is 0 for all, and the first step of a prune
    falls back on magnitudes.

    Needs rounds of training between the steps (`prune.schedule.epochs`).
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        weights = weights_of_layers(scene)
        if scene.movement is None:
            raise JobFailed(
                "the criterion movement needs training between the steps: set prune.schedule.epochs, or use magnitude"
            )
        if not scene.movement:
            return {name: weight.square() for name, weight in weights.items()}
        return {name: scene.movement[name] for name in weights if name in scene.movement}
