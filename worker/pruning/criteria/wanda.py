"""Small weights on strong inputs matter."""

from typing import ClassVar

from torch import Tensor

from worker.pruning.layer_inputs import input_energy
from worker.pruning.scoring import Scene, Scores, weights_of_layers
from worker.pruning.units import units_of

__all__ = ["Wanda"]


class Wanda:
    """`I(w_ij) = |w_ij| · ‖x_j‖₂`: Sun et al., A Simple and Effective Pruning Approach for Large Language Models, ICLR
    2024, eq. 1. The norm of an input is over samples and positions; for convolutions every entry of a kernel has its
    own. They compare within an output: use the allocation `uniform` for the same. For units the squares are summed.

    A layer whose input is not seen (recurrent ones, tables) is scored by `|w|`.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, {name: value.square() for name, value in self.entries(scene).items()})

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        energy = input_energy(scene, "wanda")
        scores = {}
        for name, weight in weights_of_layers(scene).items():
            scores[name] = weight.abs().double()
            if name in energy:
                scores[name] *= energy[name].sqrt()
        return scores
