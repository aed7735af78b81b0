"""Weights whose removal changes the loss at once matter."""

from typing import ClassVar

from torch import Tensor

from worker.pruning.gradients import balanced, mean_gradients
from worker.pruning.scoring import Scene, Scores
from worker.pruning.units import units_of

__all__ = ["Snip"]


class Snip:
    """`I(w) = |w · ∂L/∂w|`, with the gradient of the mean loss over all samples: the sensitivity of the loss to a gate
    on the connection. Lee et al., SNIP: Single-shot Network Pruning, ICLR 2019, eq. 4; their division by the sum of all
    does not change an order. Gradients of samples that pull in opposite directions cancel; `fisher` adds up squares.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        model, by_class = mean_gradients(scene, "snip")
        scores = {
            group: {name: (model.weights[name].detach() * gradient).abs() for name, gradient in gradients.items()}
            for group, gradients in by_class.items()
        }
        return balanced(scores) if scene.prune.balance == "class" else scores[0]
