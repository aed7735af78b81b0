"""Set weights to zero: one step towards a sparsity, with shapes left as they are."""

from collections.abc import Mapping, Sequence
from math import floor

import numpy as np
import torch
from torch import Tensor

from service.contract.methods import CRITERIA as METHODS
from service.contract.recipe import Prune
from worker.errors import JobFailed, NothingRemoved, TargetUnreachable
from worker.graph.network import Network
from worker.pruning.layer_inputs import input_moments
from worker.pruning.masks import Masks, masked, zeros_of
from worker.pruning.scoring import Criterion, Scene
from worker.pruning.sparse.allocations import quotas_of
from worker.pruning.sparse.layers import LeftDense, SparseLayer, at_least, sparse_layers
from worker.pruning.sparse.parts import Part, most_zeros, part_of, patterned
from worker.pruning.sparse.patterns import kept_by_pattern
from worker.pruning.sparse.quotas import settled
from worker.pruning.surgeon import repaired

__all__ = ["sparsify"]


def sparsify(scene: Scene, criterion: Criterion, sparsity: float, share: float = 1.0) -> tuple[Network, Masks]:
    """`scene.network` after `share` of the way to `sparsity`, and the masks that say what is zero in it.

    `sparsity` is the share of zeros among all entries of the eligible weights (`sparse_layers`) after the last step,
    where `share` is 1. It is met from the safe side and exceeded by less than one piece: an entry, or a tile. What
    `scene.masks` has at zero stays zero. A layer with a pattern n:m has m − n zeros in every window in the end, a layer
    with a sparsity of its own has that; all others make up for the rest as `prune.allocation` says.

    Raises NothingRemoved when no weight is eligible, TargetUnreachable when too much has to be kept, and JobFailed when
    a score is not a number.
    """
    layers, left = sparse_layers(scene.structure, scene.network, scene.prune, sparsity)
    if not layers:
        raise NothingRemoved(f"no weight of this model may become zero{_reasons(left)}")
    masks = _chosen(scene, criterion, sparsity, share, layers, left)
    if any(method.updates_weights for method in METHODS if method.name == scene.prune.criterion):
        return _repaired(scene, masks, layers), masks
    return masked(scene.network, masks), masks


def _chosen(
    scene: Scene,
    criterion: Criterion,
    sparsity: float,
    share: float,
    layers: Sequence[SparseLayer],
    left: Sequence[LeftDense],
) -> Masks:
    weights = {name: parameter.detach() for name, parameter in scene.network.parameters()}
    entries = sum(weights[layer.weight].numel() for layer in layers)
    final = at_least(sparsity, entries)
    most = sum(_most(layer, weights[layer.weight], scene.prune) for layer in layers)
    if final > most:
        raise _unreachable(sparsity, most, entries, left)

    scores = criterion.entries(scene)
    masks: Masks = {}
    free = list[Part]()
    for layer in layers:
        live = _live(layer, weights[layer.weight], scene.masks)
        score = _checked(layer, scores.get(layer.weight), live)
        if layer.granularity == "n:m":
            masks[layer.weight] = patterned(layer, score, live, scene.prune, share)
            continue
        part = part_of(layer, score, live, scene.prune)
        if layer.sparsity is None:
            free.append(part)
        else:
            asked = min(at_least(layer.sparsity * share, part.pool.entries), part.pool.upper)
            masks[layer.weight] = part.mask(settled([part.pool], np.array([asked]), asked)[0])

    given = zeros_of(masks)
    lower, upper = sum(part.pool.lower for part in free), sum(part.pool.upper for part in free)
    if share >= 1.0 and final > given + upper:
        raise _unreachable(sparsity, given + upper, entries, left)
    wanted = min(max(at_least(sparsity * share, entries) - given, lower), upper)
    quotas = quotas_of(free, wanted, scene)
    for part, pieces in zip(free, settled([part.pool for part in free], quotas, wanted), strict=True):
        masks[part.layer.weight] = part.mask(pieces)
    return masks


def _repaired(scene: Scene, masks: Masks, layers: Sequence[SparseLayer]) -> Network:
    """The masked network, each layer changed in what it keeps so that it answers as before as nearly as it can."""
    weights = {name: parameter.detach() for name, parameter in scene.network.parameters()}
    moments = input_moments(scene, str(scene.prune.criterion))
    network = masked(scene.network, masks)
    found = repaired(weights, masks, moments, {layer.weight: layer.output_axis for layer in layers})
    with torch.no_grad():
        for name, parameter in network.parameters():
            if name in found:
                parameter.copy_(found[name])
    return network


def _live(layer: SparseLayer, weight: Tensor, masks: Mapping[str, Tensor] | None) -> Tensor:
    known = (masks or {}).get(layer.weight)
    return torch.ones((), dtype=torch.bool).expand(weight.shape) if known is None else known


def _checked(layer: SparseLayer, score: Tensor | None, live: Tensor) -> Tensor:
    """In single precision. A layer that the criterion says nothing about, because no loss reaches it, scores 0."""
    score = torch.zeros(live.shape) if score is None else score.detach().float().cpu()
    if not (score.isfinite() | ~live).all():
        raise JobFailed(
            f"{layer.name}: the criterion gives scores that are not numbers; the network answers with NaN or infinity "
            "on the samples, or its weights are; check the samples and input.scale, or use 'magnitude'"
        )
    return score


def _most(layer: SparseLayer, weight: Tensor, prune: Prune) -> int:
    """Entries that may be zero in the end. Tiles that do not fit into the bound are not taken off."""
    if layer.granularity == "n:m":
        inputs = weight.shape[layer.input_axis]
        return weight.numel() // inputs * (inputs - kept_by_pattern(inputs, *prune.n_m))
    if layer.sparsity is not None:
        return at_least(layer.sparsity, weight.numel())
    return most_zeros(layer, weight.numel(), prune)


def _unreachable(sparsity: float, most: int, entries: int, left: Sequence[LeftDense]) -> TargetUnreachable:
    return TargetUnreachable(
        f"sparsity {sparsity:g} was asked and {floor(1e4 * most / entries) / 1e4:g} of the {entries} weights that take "
        f"part can be zero under the rules of the recipe. Ask for less, or relax prune.min_keep or prune.layers"
        f"{_reasons(left)}"
    )


def _reasons(left: Sequence[LeftDense], most: int = 3) -> str:
    """`. Left dense: NAME, because …`, for the first few."""
    if not left:
        return ""
    more = f", and {len(left) - most} more" if len(left) > most else ""
    return f". Left dense: {'; '.join(f'{layer.name}, because {layer.why}' for layer in left[:most])}{more}"
