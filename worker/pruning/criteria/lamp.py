"""Magnitudes that can be compared between layers."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from worker.pruning.scoring import Each, Scene, Scores, weights_of_layers
from worker.pruning.units import units_of

__all__ = ["Lamp", "lamp_scores"]


class Lamp:
    """`I(u) = w_u² ÷ Σ {w_v² : w_v² ≥ w_u²}`, within a layer: what the layer would lose relative to what it would have
    left. Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021, eq. 4. For units the same with
    the squared norms of the filters, and of the kernels that read them.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        squares = Each(weights_of_layers(scene), torch.square)
        return units_of(scene, squares, transform=lambda sums: lamp_scores(torch.from_numpy(sums)).numpy())

    def entries(self, scene: Scene) -> Each:
        return Each(weights_of_layers(scene), lambda weight: lamp_scores(weight.square()))


def lamp_scores(squares: Tensor) -> Tensor:
    """The score of every entry among all entries of `squares`, in its shape. Equal squares share one score."""
    flat = squares.reshape(-1).double()
    values, order = flat.sort()
    # Sum of all that is no smaller, for the first of equal values.
    tail = values.flip(0).cumsum(0).flip(0)
    first = torch.searchsorted(values, values, side="left")
    scores = torch.empty_like(flat)
    scores[order] = values / tail[first].clamp_min(np.finfo(np.float64).tiny)
    return scores.reshape(squares.shape)
