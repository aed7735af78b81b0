"""What the answers lose when one part of a network alone is pruned."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from worker.data.batches import Samples
from worker.graph.network import Network
from worker.graph.tensors import device_of

__all__ = ["Curve", "answers", "damage", "hull", "slope", "some_inputs"]

_SAMPLES = 256
_BATCH = 64
_GREATEST = 1e30

Curve = list[tuple[float, float]]
"""(what goes, damage) with rising first entries."""


def some_inputs(samples: Samples) -> list[tuple[Tensor, ...]]:
    """Inputs of up to 256 samples, in batches."""
    found, seen = list[tuple[Tensor, ...]](), 0
    for batch in samples.batches(_BATCH):
        found.append(batch.inputs)
        seen += len(batch.rows)
        if seen >= _SAMPLES:
            break
    return found


@torch.inference_mode()
def answers(network: Network, inputs: Sequence[tuple[Tensor, ...]]) -> Tensor:
    """(samples, values): the first output."""
    device = device_of(network)
    return torch.cat([network(*(value.to(device) for value in batch))[0].flatten(1) for batch in inputs])


def damage(before: Tensor, after: Tensor) -> float:
    """Mean KL divergence from the answers before, or the mean squared error where there is one answer per sample.
    Answers that are no numbers are the greatest damage."""
    if before.shape[1] == 1:
        found = functional.mse_loss(after, before)
    else:
        wanted, now = before.double().log_softmax(1), after.double().log_softmax(1)
        found = functional.kl_div(now, wanted, reduction="batchmean", log_target=True)
    return float(found.nan_to_num(nan=_GREATEST, posinf=_GREATEST))


def hull(curve: Curve) -> Curve:
    """The lower convex hull of the points."""
    found: Curve = []
    for point in sorted(set(curve)):
        if found and point[0] == found[-1][0]:
            continue
        while len(found) > 1 and slope(found[-2], point) <= slope(found[-2], found[-1]):
            found.pop()
        found.append(point)
    return found


def slope(left: tuple[float, float], right: tuple[float, float]) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])
