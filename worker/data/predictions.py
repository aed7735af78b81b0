"""The answers of one network on one split."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Predictions"]


@dataclass(frozen=True)
class Predictions:
    """`logits` is float32 (N, C), the network's first output flattened from the second axis on; `labels` is int64 (N,)
    for classification, float32 (N, C) for regression, or None; `rows` are the rows of the uploaded dataset."""

    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None
    rows: npt.NDArray[np.int64]
