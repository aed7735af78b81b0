"""Allocation by trial: what the answers lose when one layer alone gets zeros."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from worker.errors import JobFailed
from worker.pruning.damage import Curve, answers, damage, hull, slope, some_inputs
from worker.pruning.scoring import Scene
from worker.pruning.sparse.parts import Part
from worker.pruning.sparse.quotas import Quotas
from worker.training.weights import copy_network

__all__ = ["by_sensitivity", "cheapest"]

_TRIALS = (0.5, 0.75, 0.9, 1.0)
"""Shares of what a layer may still give, at which it is tried."""


def by_sensitivity(parts: Sequence[Part], wanted: int, scene: Scene) -> Quotas:
    """Entries per part with the least sum of damages, where a damage is measured with one layer pruned alone.

    Damage is the mean KL divergence from the answers before, on up to 256 samples, or the mean squared error where
    there is one answer per sample. Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, §3.2, with the
    choice among layers made by slope instead of by eye. Raises JobFailed without samples.
    """
    if scene.samples is None:
        raise JobFailed("the allocation 'sensitivity' tries every layer on samples and needs a dataset; use 'global'")
    inputs = some_inputs(scene.samples)
    trial = copy_network(scene.network)
    weights = dict(trial.parameters())
    before = answers(trial, inputs)
    curves = []
    for number, part in enumerate(parts):
        scene.progress(number / len(parts))
        weight, original = weights[part.layer.weight], weights[part.layer.weight].detach().clone()
        curve: Curve = [(float(part.pool.lower), 0.0)]
        for share in _TRIALS:
            pieces = part.pool.pieces_within(part.pool.lower + share * (part.pool.upper - part.pool.lower))
            with torch.no_grad():
                weight.copy_(original.masked_fill(~part.mask(pieces).to(original.device), 0.0))
            curve.append((float(part.pool.entries_of(pieces)), damage(before, answers(trial, inputs))))
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
        (slope(left, right), layer, right[0] - left[0])
        for layer, curve in enumerate(curves)
        for left, right in pairwise(hull(curve))
    ]
    missing = wanted - float(quotas.sum())
    for _, layer, width in sorted(pieces):
        taken = min(width, max(missing, 0.0))
        quotas[layer] += taken
        missing -= taken
    return quotas
