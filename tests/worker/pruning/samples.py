"""A split of random or given samples in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.data.batches import Batch

__all__ = ["TensorSamples"]


@dataclass(frozen=True)
class TensorSamples:
    inputs: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(self), batch_size):
            stop = start + batch_size
            labels = None if self.labels is None else self.labels[start:stop]
            yield Batch((self.inputs[start:stop],), labels, torch.arange(start, min(stop, len(self))))
