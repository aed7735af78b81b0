"""`prune.allocation` for whole units: which group gives the next block.

Who goes within a group is for the criterion to say; an allocation prices the next block of each group.
"""

from math import prod

import numpy as np
import numpy.typing as npt

from worker.errors import JobFailed
from worker.graph.structure import Group, Selection, Structure
from worker.graph.surgery import remove
from worker.pruning.allocation import Limits
from worker.pruning.block_prices import ByKind, ByShare, ByValue, Pricing, sums_of
from worker.pruning.budget import uniform
from worker.pruning.criteria import CRITERIA
from worker.pruning.damage import answers, damage, hull, some_inputs
from worker.pruning.scoring import Scene, Scores

__all__ = ["pricing_of"]

_TRIALS = (1 / 3, 2 / 3, 1.0)
"""Shares of what a group may still give, at which it is tried."""


def pricing_of(scene: Scene, limits: Limits, scores: Scores, *, per_cost: bool) -> Pricing:
    """How the blocks of the groups are compared under `scene.prune.allocation`.

    - `global`: by score, per saved cost where `per_cost`.
    - `uniform`: every group keeps the same share.
    - `erk`: every group keeps a share in proportion to (n_in + n_out + k_h + k_w) ÷ (n_in · n_out · k_h · k_w), at most
      all: Evci et al., Rigging the Lottery, ICML 2020, §3, averaged over the layers that make the units.
    - `lamp`: by layer-adaptive magnitudes of the units: Lee et al., ICLR 2021, eq. 4. They say how many go, the
      criterion says which.
    - `isomorphic`: groups that touch layers of the same kinds in the same way give the same share together, and are
      compared by score among themselves: Fang et al., Isomorphic Pruning for Vision Models, ECCV 2024, §3.2.
    - `sensitivity`: by the damage that was measured with the group pruned alone: Li et al., Pruning Filters for
      Efficient ConvNets, ICLR 2017, §3.2.

    Raises JobFailed for `sensitivity` without samples.
    """
    structure, selection = scene.structure, scene.selection
    sizes = np.array([group.channels for group in structure.groups], dtype=np.float64)
    by_score = ByValue(sums_of(structure, selection, scores), per_cost)
    match scene.prune.allocation:
        case "uniform":
            return ByShare(sizes)
        case "erk":
            return ByShare(sizes * _kernel_densities(structure))
        case "lamp":
            return ByValue(sums_of(structure, selection, CRITERIA["lamp"].score(scene)), per_cost=False)
        case "isomorphic":
            return ByKind(_kinds(structure), sizes, by_score)
        case "sensitivity":
            return ByValue(_kept_answers(scene, limits, scores), per_cost=True)
        case "global":
            return by_score


def _kernel_densities(structure: Structure) -> npt.NDArray[np.float64]:
    """(groups,): density that the kernels of the layers ask for, up to a factor. A group that no layer makes has that
    of the densest."""
    shapes = {layer.name: layer.weight_shape for layer in structure.layers}
    raw = [[sum(shape) / prod(shape) for shape in map(shapes.__getitem__, group.layers)] for group in structure.groups]
    found = np.array([np.mean(each) if each else 0.0 for each in raw])
    return np.where(found > 0, found, found.max(initial=1.0))


def _kinds(structure: Structure) -> list[int]:
    """A number for each group, the same for groups whose units are made and read by layers of the same kinds."""
    layers = {layer.weight: (layer.op, layer.weight_shape[2:]) for layer in structure.layers}
    kinds: dict[object, int] = {}

    def kind(group: Group) -> object:
        touched = sorted(
            (*layers.get(member.parameter, ("", ())), -1 if member.axis is None else member.axis)
            for member in group.members
        )
        inside = sorted(layers[layer.weight] for layer in structure.layers if layer.name in group.layers)
        return group.role, tuple(touched), tuple(inside) if group.role == "layer" else ()

    return [kinds.setdefault(kind(group), len(kinds)) for group in structure.groups]


def _kept_answers(scene: Scene, limits: Limits, scores: Scores) -> list[npt.NDArray[np.float64]]:
    """For every group: minus the damage, (channels + 1,), with k of its channels left and all others as they are."""
    if scene.samples is None:
        raise JobFailed("the allocation 'sensitivity' tries every group on samples and needs a dataset; use 'global'")
    structure, inputs = scene.structure, some_inputs(scene.samples)
    before = answers(scene.network, inputs)
    smallest = structure.kept_channels(uniform(structure, limits, 0.0))
    values = []
    for index, group in enumerate(structure.groups):
        scene.progress(index / len(structure.groups))
        members = _best_first(group, scene.selection, scores)
        most = len(members) - min(int(smallest[index]), len(members))
        curve = [(0.0, 0.0)]
        for count in sorted({round(share * most) for share in _TRIALS} - {0}) if limits.may_shrink[index] else ():
            trial = scene.selection.copy()
            trial[members[len(members) - count :]] = False
            after = answers(remove(scene.network, structure, trial, since=scene.selection), inputs)
            curve.append((float(count), damage(before, after)))
        places, damages = zip(*hull(curve), strict=True)
        left = np.arange(len(members) + 1)
        values.append(-np.interp(len(members) - left, places, damages))
    return values


def _best_first(group: Group, selection: Selection, scores: Scores) -> npt.NDArray[np.int64]:
    members = group.components[selection[group.components]]
    return members[np.argsort(-scores[members], kind="stable")]
