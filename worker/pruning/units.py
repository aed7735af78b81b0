"""From importances of entries to importances of units."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.graph.structure import Structure
from worker.pruning.blocks import block_scores
from worker.pruning.scoring import Scene, Scores, present

__all__ = ["Member", "joined", "member", "members_of", "units_of"]

Numbers = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]
Member = tuple[Numbers, Sums]
"""(components, sums): the sum of the importances of a component's entries along one axis of one weight."""

_TINY = float(np.finfo(np.float64).tiny)


def units_of(scene: Scene, entries: Mapping[str, Tensor], transform: Callable[[Sums], Sums] | None = None) -> Scores:
    """Importance of every unit from the importances of the entries of the weights that make it and that read it.

    Along every axis of every weight that a unit touches its entries are summed; `transform` may change these sums
    within the axis. They are divided as `prune.normalization` says, so that layers of any width weigh the same, and
    what the axes of one unit say becomes one number by `prune.reduction`. Coupled members and the division by their
    mean: Fang et al., DepGraph, CVPR 2023, §3.3. Blocks are scored by `block_scores`.
    """
    changed = (lambda sums: sums) if transform is None else transform
    return joined(scene, [(touched, changed(sums)) for touched, sums in members_of(scene, entries)], entries)


def joined(scene: Scene, members: list[Member], entries: Mapping[str, Tensor]) -> Scores:
    """Importance of every unit from those that the members give it; `entries` are for blocks, where there are any."""
    divided = [(touched, _divided(sums, scene.prune.normalization)) for touched, sums in members]
    return block_scores(scene, _reduced(divided, scene.structure.component_count, scene.prune.reduction), entries)


def members_of(scene: Scene, entries: Mapping[str, Tensor]) -> Iterator[Member]:
    """Sums of the importances by component, for every axis of every weight along which single components lie."""
    structure, selection = scene.structure, scene.selection
    for name, importance in entries.items():
        for axis, numbers in _axes(structure, name):
            others = [other for other in range(importance.dim()) if other != axis]
            values = (importance.sum(others) if others else importance).double().cpu().numpy()
            found = member(present(numbers, selection), values)
            if len(found[0]):
                yield found


def member(numbers: Numbers, values: Sums) -> Member:
    """What entries along an axis say, whose components are `numbers`, (size,), and importances `values`, (size,)."""
    components, position = np.unique(numbers, return_inverse=True)
    sums = np.bincount(position, weights=values, minlength=len(components)).astype(np.float64)
    free = components > 0
    return components[free], sums[free]


def _axes(structure: Structure, name: str) -> Iterator[tuple[int, Numbers]]:
    for claimed in structure.claims.get(name, ()):
        axes = [axis for axis, size in enumerate(claimed.shape) if size > 1]
        if len(axes) == 1:
            yield axes[0], claimed.reshape(-1)


def _divided(sums: Sums, normalization: str) -> Sums:
    size = np.abs(sums)
    match normalization:
        case "mean":
            divisor = size.mean()
        case "max":
            divisor = size.max()
        case "sum":
            divisor = size.sum()
        case "standard":
            divisor = sums.std()
        case _:
            return sums
    return np.asarray(sums / max(float(divisor), _TINY))


def _reduced(members: list[Member], components: int, reduction: str) -> Scores:
    """One number per component from those of its members: (components + 1,). A product is a geometric mean."""
    start = {"max": -np.inf, "min": np.inf}.get(reduction, 0.0)
    total, number = np.full(components + 1, start), np.zeros(components + 1)
    for touched, values in members:
        np.add.at(number, touched, 1.0)
        if reduction == "max":
            np.maximum.at(total, touched, values)
        elif reduction == "min":
            np.minimum.at(total, touched, values)
        else:
            np.add.at(total, touched, np.log(np.maximum(values, _TINY)) if reduction == "product" else values)
    if reduction in ("mean", "product"):
        total = total / np.maximum(number, 1.0)
    if reduction == "product":
        total = np.exp(total)
    return np.where(number > 0, total, 0.0)
