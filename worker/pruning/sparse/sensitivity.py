"""Allocation by trial: what the answers lose when one layer alone gets zeros."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from worker.data.batches import Samples
from worker.errors import JobFailed
from worker.graph.network import Network
from worker.pruning.scoring import Scene
from worker.pruning.sparse.parts import Part
from worker.pruning.sparse.quotas import Quotas
from worker.training.weights import copy_network

__all__ = ["by_sensitivity", "cheapest"]

_SAMPLES = 256
_BATCH = 64
_TRIALS = (0.5, 0.75, 0.9, 1.0)
"""Shares of what a layer may still give, at which it is tried."""
_GREATEST = 1e30

Curve = list[tuple[float, float]]


def by_sensitivity(parts: Sequence[Part], wanted: int, scene: Scene) -> Quotas:
    """Entries per part with the least sum of damages, where a damage is measured with one layer pruned alone.

    Damage is the mean KL divergence from the answers before, on up to 256 samples, or the mean squared error where
    there is one answer per sample. Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, §3.2, with the
    choice among layers made by slope instead of by eye. Raises JobFailed without samples.
    """
    if scene.samples is None:
        raise JobFailed("the allocation 'sensitivity' tries every layer on samples and needs a dataset; use 'global'")
    inputs = _some_inputs(scene.samples)
    trial = copy_network(scene.network)
    weights = dict(trial.parameters())
    before = _answers(trial, inputs)
    curves = []
    for number, part in enumerate(parts):
        scene.progress(number / len(parts))
        weight, original = weights[part.layer.weight], weights[part.layer.weight].detach().clone()
        curve: Curve = [(float(part.pool.lower), 0.0)]
        for share in _TRIALS:
            pieces = part.pool.pieces_within(part.pool.lower + share * (part.pool.upper - part.pool.lower))
            with torch.no_grad():
                weight.copy_(original.masked_fill(~part.mask(pieces).to(original.device), 0.0))
            curve.append((float(part.pool.entries_of(pieces)), _damage(before, _answers(trial, inputs))))
        with torch.no_grad():
            weight.copy_(original)
        curves.append(curve)
    return cheapest(curves, wanted)


def cheapest(curves: Sequence[Curve], wanted: float) -> Quotas:
    """Entries per layer, `wanted` in all, with the least sum of damages. A curve has rising (entries, damage) points.

    Between the points damage is taken as linear, on the lower convex hull of a curve: then taking the flattest piece
    of any hull first is optimal.
    """
    quotas = np.array([curve[0][0] for curve in curves])
    pieces = [
        ((right[1] - left[1]) / (right[0] - left[0]), layer, right[0] - left[0])
        for layer, curve in enumerate(curves)
        for left, right in pairwise(_hull(curve))
    ]
    missing = wanted - float(quotas.sum())
    for _, layer, width in sorted(pieces):
        taken = min(width, max(missing, 0.0))
        quotas[layer] += taken
        missing -= taken
    return quotas


def _hull(curve: Curve) -> Curve:
    """The lower convex hull of points in the order of their entries."""
    hull: Curve = []
    for point in sorted(set(curve)):
        if hull and point[0] == hull[-1][0]:
            continue
        while len(hull) > 1 and _slope(hull[-2], point) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(point)
    return hull


def _slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])


def _some_inputs(samples: Samples) -> list[tuple[Tensor, ...]]:
    found, seen = list[tuple[Tensor, ...]](), 0
    for batch in samples.batches(_BATCH):
        found.append(batch.inputs)
        seen += len(batch.rows)
        if seen >= _SAMPLES:
            break
    return found


@torch.inference_mode()
def _answers(network: Network, inputs: Sequence[tuple[Tensor, ...]]) -> Tensor:
    return torch.cat([network(*batch)[0].flatten(1) for batch in inputs])


def _damage(before: Tensor, after: Tensor) -> float:
    """Answers that are no numbers are the greatest damage."""
    if before.shape[1] == 1:
        damage = functional.mse_loss(after, before)
    else:
        wanted, found = before.double().log_softmax(1), after.double().log_softmax(1)
        damage = functional.kl_div(found, wanted, reduction="batchmean", log_target=True)
    return float(damage.nan_to_num(nan=_GREATEST, posinf=_GREATEST))
