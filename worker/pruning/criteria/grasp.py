"""Weights that the flow of gradients needs matter."""

from typing import ClassVar

import torch
from torch import Tensor

from worker.pruning.gradients import Differentiable
from worker.pruning.scoring import Scene, Scores, samples_of
from worker.pruning.units import units_of

__all__ = ["Grasp"]

_BATCH = 64
_TEMPERATURE = 200.0
# Central differences err by the square of this step, and by rounding over it.
_STEP = 1e-2


class Grasp:
    """`I(w) = w · (H g)_w`: how much the squared norm of the gradient would shrink without the weight, to first order;
    H and g of the loss on all samples. Wang et al., Picking Winning Tickets Before Training by Preserving Gradient
    Flow, ICLR 2020, eq. 8, where the highest `−w · (H g)_w` go first, with their temperature of 200 on the outputs of
    classifiers.

    `H g` is a central difference of gradients along g, which every op has: second derivatives of fused attention do not
    exist. Made for networks before training; near a minimum g says little.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        model = Differentiable.of(scene)
        gradient = _gradient(model, scene)
        length = torch.stack([value.norm() for value in gradient.values()]).norm()
        size = torch.stack([weight.detach().norm() for weight in model.weights.values()]).norm()
        step = float(_STEP * size / length.clamp_min(torch.finfo(torch.float32).tiny))
        start = {name: weight.detach().clone() for name, weight in model.weights.items()}
        model.shift(gradient, step)
        ahead = _gradient(model, scene)
        model.shift(gradient, -2 * step)
        behind = _gradient(model, scene)
        return {name: start[name] * (ahead[name] - behind[name]) / (2 * step) for name in start}


def _gradient(model: Differentiable, scene: Scene) -> dict[str, Tensor]:
    """Of the mean loss over all samples."""
    samples = samples_of(scene, "grasp")
    temperature = 1.0 if scene.task == "regression" else _TEMPERATURE
    total = {name: torch.zeros_like(weight) for name, weight in model.weights.items()}
    done = 0
    for batch in samples.batches(_BATCH):
        for name, gradient in model.gradients(batch, temperature).items():
            total[name] += gradient
        done += len(batch.rows)
        scene.progress(done / len(samples))
    return {name: value / max(done, 1) for name, value in total.items()}
