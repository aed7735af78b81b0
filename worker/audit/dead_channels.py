"""Channels that a ReLU silences on every sample: weights that are carried along and do nothing."""

from typing import Any

import torch
from torch import Tensor, fx

from worker.data.batches import Samples
from worker.graph.network import Network

__all__ = ["count_dead_channels"]

_RECTIFIERS = {torch.ops.aten.relu.default, torch.ops.aten.hardtanh.default}


def count_dead_channels(network: Network, samples: Samples, batch_size: int = 256) -> int:
    """Number of channels (axis 1) whose rectifier answers 0 everywhere on all `samples`; 0 without rectifiers.

    A hardtanh counts where it is a ReLU6, that is where its lower bound is 0.
    """
    meter = _Meter(network.module)
    with torch.inference_mode():
        for batch in samples.batches(batch_size):
            meter.run(*batch.inputs)
    return sum(int((~alive).sum()) for alive in meter.alive.values())


class _Meter(fx.Interpreter):
    """Runs the graph and notes which channels ever answered above 0."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.alive: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        is_rectifier = n.target in _RECTIFIERS and not (
            n.target is torch.ops.aten.hardtanh.default and (len(n.args) < 2 or n.args[1] != 0)
        )
        if is_rectifier and isinstance(value, Tensor) and value.ndim >= 2:
            other_axes = [axis for axis in range(value.ndim) if axis != 1]
            alive = value.amax(dim=other_axes) > 0
            self.alive[n.name] = self.alive.get(n.name, torch.zeros_like(alive)) | alive
        return value
