"""A dataset in memory, as it was uploaded: arrays, labels, and what is known about them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.contract.resources import ArrayInfo

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """Samples of one or more model inputs. Row i of every array is sample i.

    `arrays` maps input names to arrays of N samples (`{"x": ...}` where the upload did not name the input); `labels`
    are int64 class indices or float targets of shape (N,) or (N, k), `split` is 0 for train and 1 for test per sample,
    or None when the upload has no split; `groups` are int64 indices into `group_names`. `notes` say what the reader
    left out or understood in its own way.
    """

    format: Literal["npz", "images"]
    arrays: dict[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic] | None
    split: npt.NDArray[np.int8] | None
    groups: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...] | None
    group_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def infos(self) -> list[ArrayInfo]:
        """The arrays as a profile shows them."""
        return [
            ArrayInfo(name=name, shape=list(array.shape), dtype=array.dtype.name) for name, array in self.arrays.items()
        ]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))
