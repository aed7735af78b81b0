"""Filters that others can stand in for matter little."""

from typing import ClassVar

import torch
from torch import Tensor

from worker.errors import JobFailed
from worker.pruning.scoring import Scene, Scores, present, weights_of_layers
from worker.pruning.units import joined, member

__all__ = ["Fpgm"]

_ROWS = 1024


class Fpgm:
    """`I(i) = Σ_j ‖f_i − f_j‖₂` over the filters f of a layer: what lies near their geometric median is replaceable.
    He et al., Filter Pruning via Geometric Median, CVPR 2019, eq. 5. Filters are the rows that make a unit; what reads
    it does not count.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        weights = weights_of_layers(scene)
        members = []
        for layer in scene.structure.layers:
            if layer.slot is not None and layer.weight in weights:
                weight = weights[layer.weight].movedim(layer.output_axis, 0)
                distances = _distances(weight.reshape(len(weight), -1).double())
                numbers = present(scene.structure.slots[layer.slot].numbers, scene.selection)
                members.append(member(numbers, distances.cpu().numpy()))
        return joined(scene, members, {name: weight.abs() for name, weight in weights.items()})

    def entries(self, _scene: Scene) -> dict[str, Tensor]:
        raise JobFailed("the criterion fpgm compares whole filters and has no score for single weights; use magnitude")


def _distances(rows: Tensor) -> Tensor:
    """(N,): sum of the distances of every row to all others, in pieces that fit into memory."""
    pieces = [torch.cdist(rows[start : start + _ROWS], rows).sum(1) for start in range(0, len(rows), _ROWS)]
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.float64)
