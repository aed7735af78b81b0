"""Labels, groups and names, from the many ways people store them to one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.errors import MalformedDataset, MismatchedDataset

__all__ = ["Labels", "read_class_names", "read_groups", "read_labels", "read_split"]

MOST_CLASSES = 65_536
MOST_GROUPS = 10_000
_LONGEST_NAME = 256

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Labels:
    """`values` is int64 (N,) for classes, float32 (N,) or (N, k) for real targets."""

    values: Array
    class_names: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


def read_labels(name: str, stored: Array) -> Labels:
    """Class numbers from integers, booleans, texts or one-hot rows; real targets from other floats.

    Raises:
        MismatchedDataset: negative or huge class numbers, NaN, or a shape that is neither.
    """
    if stored.ndim == 2 and stored.shape[1] == 1:
        stored = stored[:, 0]
    if stored.dtype.kind in "US":
        if stored.ndim != 1:
            raise MismatchedDataset(
                f"{name} holds texts of shape {stored.shape}; one class name per sample is expected"
            )
        names, indices = np.unique(stored, return_inverse=True)
        return Labels(_classes(name, indices.reshape(-1).astype(np.int64)), _texts(name, names))
    if stored.ndim == 2 and _is_one_hot(stored):
        note = f"{name} of shape {stored.shape} is one-hot and was turned into class numbers"
        return Labels(stored.argmax(axis=1).astype(np.int64), None, (note,))
    if stored.dtype.kind in "iub":
        if stored.ndim != 1:
            raise MismatchedDataset(
                f"{name} holds integers of shape {stored.shape}; give one class number per sample, one-hot rows, or "
                "floats for real targets"
            )
        return Labels(_classes(name, stored), None)
    return _real(name, stored)


def _real(name: str, stored: Array) -> Labels:
    if stored.ndim not in (1, 2) or 0 in stored.shape:
        raise MismatchedDataset(f"{name} has shape {stored.shape}; (samples,) or (samples, values) is expected")
    with np.errstate(over="ignore"):  # what overflows is infinite, and is counted
        values = stored.astype(np.float32)
    if bad := int((~np.isfinite(values)).sum()):
        raise MismatchedDataset(f"{bad:,} of the {values.size:,} values of {name} are NaN or infinite")
    notes: tuple[str, ...] = ()
    if values.ndim == 1 and bool((values == np.floor(values)).all()) and values.max() < MOST_CLASSES:
        notes = (
            f"{name} holds floats without fractions and is taken as a real target; store integers if these are classes",
        )
    return Labels(values, None, notes)


def _classes(name: str, stored: Array) -> npt.NDArray[np.int64]:
    if stored.dtype.kind == "i" and (negative := int((stored < 0).sum())):  # type: ignore[operator] # integers here
        raise MismatchedDataset(f"{negative:,} labels in {name} are negative; classes are numbered from 0")
    largest = int(stored.max())
    if largest >= MOST_CLASSES:
        raise MismatchedDataset(f"{name} goes up to {largest:,}; at most {MOST_CLASSES:,} classes, numbered from 0")
    return stored.astype(np.int64)


def _is_one_hot(stored: Array) -> bool:
    if stored.dtype.kind not in "iubf" or stored.shape[1] < 2:
        return False
    ones = stored == 1
    return bool((ones.sum(axis=1) == 1).all() and ((stored == 0) | ones).all())


def read_groups(name: str, stored: Array) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Group numbers per sample, and the names of the groups in sorted order.

    Raises MismatchedDataset when there are too many groups, or floats.
    """
    if stored.ndim != 1 or stored.dtype.kind not in "iubUS":
        raise MismatchedDataset(
            f"{name} must hold one integer or text per sample, not {stored.dtype} of {stored.shape}"
        )
    names, indices = np.unique(stored, return_inverse=True)
    if len(names) > MOST_GROUPS:
        raise MismatchedDataset(f"{name} names {len(names):,} groups; at most {MOST_GROUPS:,} can be compared")
    texts = _texts(name, names) if stored.dtype.kind in "US" else tuple(str(value) for value in names.tolist())
    return indices.reshape(-1).astype(np.int64), texts


def read_split(name: str, stored: Array) -> npt.NDArray[np.int8]:
    """0 for train and 1 for test, from these numbers or words.

    Raises MismatchedDataset for anything else, or when no sample is for training.
    """
    if stored.ndim != 1 or stored.dtype.kind not in "iubUS":
        raise MismatchedDataset(f"{name} must hold 0 or 1, or 'train' or 'test', for every sample")
    if stored.dtype.kind in "US":
        words = np.array(_texts(name, stored))
        known, is_test = np.isin(words, ("train", "test")), words == "test"
    else:
        known, is_test = np.isin(stored, (0, 1)), stored == 1
    if not known.all():
        odd = stored[~known][0]
        raise MismatchedDataset(f"{name} holds {str(odd)[:64]!r}; 0 or 'train' and 1 or 'test' are known")
    if is_test.all():
        raise MismatchedDataset(f"{name} leaves no sample for training")
    return np.asarray(is_test, dtype=np.int8)


def read_class_names(name: str, stored: Array) -> tuple[str, ...]:
    """Names of the classes, by class number. Raises MismatchedDataset when they are no texts."""
    if stored.ndim != 1 or stored.dtype.kind not in "US" or not 1 <= len(stored) <= MOST_CLASSES:
        raise MismatchedDataset(f"{name} must hold one text per class, not {stored.dtype} of {stored.shape}")
    return _texts(name, stored)


def _texts(name: str, stored: Array) -> tuple[str, ...]:
    try:
        texts: Sequence[str] = [str(value) for value in stored.astype(str).tolist()]
    except (UnicodeDecodeError, ValueError) as error:
        raise MalformedDataset(f"{name} holds bytes that are no text: {error}") from error
    for text in texts:
        if len(text) > _LONGEST_NAME or not text.isprintable():
            raise MismatchedDataset(f"{name} holds the name {text[:40]!r}: up to {_LONGEST_NAME} printable characters")
    return tuple(texts)
