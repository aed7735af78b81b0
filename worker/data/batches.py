"""What every stage reads samples through: a split that yields batches ready for the network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

__all__ = ["Batch", "Samples", "Task"]

Task = Literal["classification", "regression", "unlabelled"]


@dataclass(frozen=True)
class Batch:
    """`inputs` fit the network's placeholders (batch first, transformed, contiguous NCHW); `rows` are rows of the
    uploaded dataset; `labels` are int64 (B,) for classification, float32 like the output for regression, or None."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    rows: Tensor


class Samples(Protocol):
    """A split. `batches` goes through it in order, without augmentation; the last batch may be smaller."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[Batch]: ...
