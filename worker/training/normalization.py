"""Batch norm statistics, measured anew."""

from typing import Any

import torch
from torch import Tensor, fx

from worker.data.batches import Samples
from worker.graph.network import Network
from worker.training.device import CPU, placed
from worker.training.mode import is_batch_norm, running_statistics
from worker.training.weights import copy_network

__all__ = ["recalibrate"]


def recalibrate(network: Network, samples: Samples, batch_size: int = 256, device: torch.device = CPU) -> Network:
    """A copy whose batch norms know the statistics of `samples` instead of those of the network before the prune.

    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN): with fixed weights every batch is
    normalised by its own statistics, and the moments of all batches are averaged, each sample counting once. The
    variance is the unbiased one, as in training. Nothing else is in training mode: no dropout, no augmentation.

    Without batch norm, or with fewer than two samples, the copy equals the network. The batches should mix the
    classes, as those of the calibration split do.
    """
    recalibrated = copy_network(network)
    if len(samples) < 2 or not any(map(is_batch_norm, recalibrated.module.graph.nodes)):
        return recalibrated
    with torch.no_grad(), placed(device, recalibrated):
        measurement = _Measurement(recalibrated.module)
        for batch in samples.batches(batch_size):
            measurement.run(*(value.to(device) for value in batch.inputs))
        buffers = dict(recalibrated.module.named_buffers())
        for (mean_name, variance_name), moments in measurement.moments.items():
            buffers[mean_name].copy_(moments.mean)
            buffers[variance_name].copy_(moments.variance)
    return recalibrated


class _Moments:
    """Sums over all values of each channel, in double precision: E[x²] − E[x]² cancels."""

    def __init__(self, channels: int) -> None:
        self._total = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)
        self._count = 0

    def add(self, count: int, mean: Tensor, variance: Tensor) -> None:
        """`count` values per channel with this mean and biased variance."""
        mean, variance = mean.double().cpu(), variance.double().cpu()
        self._total += count * mean
        self._squares += count * (variance + mean.square())
        self._count += count

    @property
    def mean(self) -> Tensor:
        return self._total / self._count

    @property
    def variance(self) -> Tensor:
        return (self._squares - self._count * self.mean.square()).clamp(min=0) / (self._count - 1)


class _Measurement(fx.Interpreter):
    """Runs the graph with batch statistics and adds up the moments of each pair of running buffers.

    A norm that is called several times has one pair, and its calls add up.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.moments: dict[tuple[str, str], _Moments] = {}

    def run_node(self, n: fx.Node) -> Any:
        if not is_batch_norm(n):
            return super().run_node(n)
        (values, weight, bias, _, _, _, momentum, eps, _), _ = self.fetch_args_kwargs_from_env(n)
        normalized, mean, inverse_deviation = torch.ops.aten.native_batch_norm.default(
            values, weight, bias, None, None, True, momentum, eps
        )
        # The kernel has taken the moments anyway; a second pass over the activations would cost as much as the norm.
        variance = (inverse_deviation.double() ** -2 - eps).clamp(min=0)
        moments = self.moments.setdefault(running_statistics(n), _Moments(values.shape[1]))
        moments.add(values.numel() // values.shape[1], mean, variance)
        return normalized
