"""Weights that others can make up for matter little."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from worker.pruning.layer_inputs import input_energy, input_moments
from worker.pruning.scoring import Scene, Scores, present, weights_of_layers
from worker.pruning.surgeon import as_rows, inverse_of, unit_costs, weight_costs
from worker.pruning.units import Member, joined, member

__all__ = ["SparseGpt"]


class SparseGpt:
    """`I(w_q) = w_q² ÷ [H⁻¹]_qq` with `H = E[x xᵀ]` of the layer's inputs: the error of the layer's output when the
    other weights make up for w_q, relative to the output. Frantar and Alistarh, SparseGPT: Massive Language Models
    Can Be Accurately Pruned in One-Shot, ICML 2023, §3, after Optimal Brain Surgeon; what is left is
    changed accordingly.

    A unit counts by the inputs that it is to the layers that read it, all of them at once: Kurtic et al., ZipLM,
    NeurIPS 2023, eq. 4. Units are made up for by `prune.compensate`. Where the inputs of a layer are not seen, or
    are too many for their second moments, H is taken as diagonal, or as 1.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        moments = input_moments(scene, "sparsegpt")
        weights = weights_of_layers(scene)
        members: list[Member] = []
        for layer in scene.structure.layers:
            if layer.weight not in moments:
                continue
            weight = weights[layer.weight]
            axis = 1 if layer.output_axis == 0 else 0
            numbers = self._inputs(scene, layer.weight, axis)
            if numbers is None:
                continue
            rows, moment = as_rows(weight, layer.output_axis), moments[layer.weight]
            width = rows.shape[1] // len(numbers)
            inverse = inverse_of(moment)
            size = float((rows.double() @ moment * rows.double()).sum())
            positions = torch.arange(rows.shape[1]).reshape(len(numbers), width)
            members += _by_size(numbers, rows, inverse, positions, size)
        return joined(scene, members, {name: weight.square() for name, weight in weights.items()})

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        moments, weights = input_moments(scene, "sparsegpt"), weights_of_layers(scene)
        energy = {} if moments.keys() >= weights.keys() else input_energy(scene, "sparsegpt")
        scores = {}
        for layer in scene.structure.layers:
            weight = weights.get(layer.weight)
            if weight is None:
                continue
            if layer.weight in moments:
                moved = weight.movedim(layer.output_axis, 0)
                costs = weight_costs(as_rows(weight, layer.output_axis), inverse_of(moments[layer.weight]))
                scores[layer.weight] = costs.reshape(moved.shape).movedim(0, layer.output_axis)
            else:
                scores[layer.weight] = weight.double().square() * energy.get(layer.weight, 1.0)
        return {name: score / float(score.sum().clamp_min(np.finfo(np.float64).tiny)) for name, score in scores.items()}

    @staticmethod
    def _inputs(scene: Scene, name: str, axis: int) -> np.ndarray | None:
        """Components of the inputs along `axis` of the weight, as far as they are left."""
        for claimed in scene.structure.claims.get(name, ()):
            tracked = [place for place, size in enumerate(claimed.shape) if size > 1]
            if tracked == [axis]:
                return present(claimed.reshape(-1), scene.selection)
        return None


def _by_size(numbers: np.ndarray, rows: Tensor, inverse: Tensor, positions: Tensor, size: float) -> list[Member]:
    """Costs of the units among the inputs, those of equal numbers of inputs in one go."""
    components, counts = np.unique(numbers[numbers > 0], return_counts=True)
    found = []
    for count in np.unique(counts):
        chosen = components[counts == count]
        order = np.argsort(numbers, kind="stable")
        order = order[np.isin(numbers[order], chosen)]
        columns = positions[torch.from_numpy(order)].reshape(len(chosen), -1)
        costs = unit_costs(rows, inverse, columns).numpy() / max(size, np.finfo(np.float64).tiny)
        found.append(member(chosen, costs))
    return found
