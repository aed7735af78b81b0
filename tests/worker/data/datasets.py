"""Small datasets for tests."""

from typing import Any

import numpy as np

from worker.data.dataset import Dataset


def dataset(labels: Any = None, split: Any = None, **arrays: Any) -> Dataset:
    return Dataset(
        format="npz",
        arrays={name: np.asarray(array) for name, array in arrays.items()},
        labels=None if labels is None else np.asarray(labels),
        split=None if split is None else np.asarray(split, dtype=np.int8),
        groups=None,
        class_names=None,
        group_names=None,
    )
