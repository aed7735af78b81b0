"""A split of a dataset as a stream of batches."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.contract.recipe import Augmentation
from worker.data.augmentation import augment as augmented
from worker.data.batches import Batch, Task
from worker.data.dataset import Dataset
from worker.data.transform import InputTransform

__all__ = ["SplitSamples"]


@dataclass(frozen=True)
class SplitSamples:
    """The samples of `rows`, transformed batch by batch: what stays in memory is the dataset as it was stored."""

    dataset: Dataset
    rows: npt.NDArray[np.int64]
    transform: InputTransform
    task: Task

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_images(self) -> bool:
        return any(source.layout is not None for source in self.transform.sources)

    @property
    def labels(self) -> npt.NDArray[np.int64] | npt.NDArray[np.float32] | None:
        """int64 (N,) for classification, float32 (N, values) for regression, None when unlabelled."""
        return self._labels_of(self.rows)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Go through the split in order; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            rows = self.rows[start : start + batch_size]
            yield self._batch(rows, self.transform(self.dataset, rows))

    def train_batch_count(self, batch_size: int) -> int:
        """Number of batches of `train_batches`. At least two samples each: one alone has no batch statistics."""
        return max(1, min(math.ceil(len(self) / batch_size), len(self) // 2))

    def train_batches(
        self, batch_size: int, generator: torch.Generator, augment: Sequence[Augmentation] = ()
    ) -> Iterator[Batch]:
        """Go through the split in random order, with random views of images.

        Sizes of the batches differ by at most one sample and do not exceed `batch_size`. So nothing has to be dropped
        to spare batch norm a tiny last batch, which in a small dataset could be much of the data.
        """
        order = self.rows[torch.randperm(len(self), generator=generator).numpy()]
        for rows in np.array_split(order, self.train_batch_count(batch_size)):
            stored = augmented(self.transform.read(self.dataset, rows), augment, generator)
            yield self._batch(rows, self.transform.normalize(stored))

    def _batch(self, rows: npt.NDArray[np.int64], inputs: tuple[Tensor, ...]) -> Batch:
        labels = self._labels_of(rows)
        return Batch(inputs, None if labels is None else torch.from_numpy(labels), torch.from_numpy(rows))

    def _labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32] | None:
        if self.dataset.labels is None or self.task == "unlabelled":
            return None
        labels = self.dataset.labels[rows]
        if self.task == "classification":
            return labels.astype(np.int64)
        return labels.reshape(len(rows), -1).astype(np.float32)
