"""Weights along which the loss is flat matter little."""

from typing import ClassVar

from torch import Tensor

from worker.pruning.gradients import squared_gradients
from worker.pruning.scoring import Scene, Scores
from worker.pruning.units import units_of

__all__ = ["Fisher"]


class Fisher:
    """`I(w) = ½ w² E[(∂L/∂w)²]`: the increase of the loss near a minimum, with the empirical Fisher information for the
    diagonal of the Hessian. LeCun et al., Optimal Brain Damage, NIPS 1989, eq. 5; Theis et al., Faster Gaze Prediction
    with Dense Networks and Fisher Pruning, 2018, eq. 9. The mean of squares is over single samples.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        return squared_gradients(scene, "fisher", lambda weight, gradient: (weight * gradient).square() / 2)
