"""Datasets as `.npz`: which array is what."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worker.data.dataset import Dataset
from worker.errors import MalformedDataset, MismatchedDataset, UnsafeDataset
from worker.formats.labels import Labels, read_class_names, read_groups, read_labels, read_split
from worker.formats.npy import ArrayHeader, read_array, read_header
from worker.formats.zips import BadArchive, HostileArchive, checked_zip
from worker.order import ChildLimits

__all__ = ["read_npz"]

_MOST_ARRAYS = 1_000
_LABELS = ("labels", "y")
_ROLES = (*_LABELS, "split", "groups", "class_names")

Array = npt.NDArray[np.generic]


def read_npz(path: Path, limits: ChildLimits) -> Dataset:
    """Read an `.npz`, in one of two layouts:

    - `x_train, y_train` and, optionally, `x_test, y_test`, `groups_train, groups_test` or `groups` (train first);
    - one array per model input, and optionally `labels` (or `y`), `split` and `groups` of the same length.

    `class_names` may be in both. Arrays of other lengths are left out, with a note.

    Raises:
        UnsafeDataset: pickled objects, a hostile archive, or more than `limits.dataset_bytes`.
        MalformedDataset: a damaged archive or array.
        MismatchedDataset: lengths, labels or values that make no dataset.
    """
    try:
        with checked_zip(path, methods=(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) as archive:
            return _Reader(archive, limits.dataset_bytes).read()
    except BadArchive as error:
        raise MalformedDataset(str(error)) from error
    except HostileArchive as error:
        raise UnsafeDataset(str(error)) from error


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self._archive = archive
        self._bytes_left = most_bytes
        self._most_bytes = most_bytes
        self._headers = self._read_headers()
        self._notes: list[str] = []

    def read(self) -> Dataset:
        if "x_train" in self._headers:
            return self._keras()
        if without := [name for name in ("y_train", "x_test", "y_test") if name in self._headers]:
            raise MismatchedDataset(
                f"{', '.join(without)} {'is' if len(without) == 1 else 'are'} there, but x_train is missing: scores "
                "and fine-tuning need training samples. To have one set divided, call its arrays x and labels"
            )
        return self._by_input()

    def _read_headers(self) -> dict[str, ArrayHeader]:
        members = self._archive.infolist()
        if len(members) > _MOST_ARRAYS:
            raise UnsafeDataset(f"the file has {len(members):,} members; at most {_MOST_ARRAYS:,} arrays are read")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise MalformedDataset(f"the member {member.filename!r} of the .npz is no array")
        headers = [read_header(self._archive, member) for member in members]
        return {header.name: header for header in headers}

    def _array(self, name: str) -> Array:
        header = self._headers[name]
        self._bytes_left -= header.nbytes
        if self._bytes_left < 0:
            raise UnsafeDataset(
                f"the array {name!r} of shape {header.shape} brings the dataset to more than {self._most_bytes:,} "
                "bytes, the limit of this service"
            )
        return read_array(self._archive, header)

    def _samples(self, name: str) -> Array:
        array = self._array(name)
        if array.dtype.kind not in "iubf":
            raise MismatchedDataset(f"the array {name!r} holds texts, not numbers")
        if array.dtype.kind == "f":
            bad = sum(int((~np.isfinite(part)).sum()) for part in _parts(array))
            if bad:
                raise MismatchedDataset(f"{bad:,} of the {array.size:,} values of {name!r} are NaN or infinite")
        return array

    def _keras(self) -> Dataset:
        parts = ["train", "test"] if "x_test" in self._headers else ["train"]
        for part in parts:
            if f"y_{part}" not in self._headers:
                raise MismatchedDataset(f"x_{part} is there, but y_{part} is missing")
            if self._headers[f"x_{part}"].length == 0:
                raise MismatchedDataset(f"x_{part} has no samples")
            self._check_length(f"y_{part}", self._headers[f"x_{part}"].length, f"samples in x_{part}")
        samples = [self._samples(f"x_{part}") for part in parts]
        if len({(array.shape[1:], array.dtype) for array in samples}) > 1:
            found = " and ".join(
                f"x_{part} is {array.dtype} {array.shape}" for part, array in zip(parts, samples, strict=True)
            )
            raise MismatchedDataset(f"training and test samples differ: {found}")
        stored = [self._array(f"y_{part}") for part in parts]
        if len({(array.dtype.kind in "iub", array.dtype.kind in "US", array.shape[1:]) for array in stored}) > 1:
            found = " and ".join(
                f"y_{part} is {array.dtype} {array.shape}" for part, array in zip(parts, stored, strict=True)
            )
            raise MismatchedDataset(f"training and test labels differ: {found}")
        labels = read_labels("y_train and y_test" if len(parts) > 1 else "y_train", np.concatenate(stored))
        lengths = [len(array) for array in samples]
        used = {f"{kind}_{part}" for kind in "xy" for part in parts} | {"class_names"}
        groups = self._keras_groups(parts, lengths)
        used |= {"groups", *(f"groups_{part}" for part in parts)}
        self._note_unused(used)
        split = np.repeat(np.arange(len(parts), dtype=np.int8), lengths) if len(parts) > 1 else None
        return self._dataset({"x": np.concatenate(samples)}, labels, split, groups)

    def _keras_groups(self, parts: list[str], lengths: list[int]) -> Array | None:
        if "groups" in self._headers:
            self._check_length("groups", sum(lengths), "samples of train and test together")
            return self._array("groups")
        names = [f"groups_{part}" for part in parts]
        if not any(name in self._headers for name in names):
            return None
        for name, length in zip(names, lengths, strict=True):
            if name not in self._headers:
                raise MismatchedDataset(f"{name} is missing; give groups for train and test")
            self._check_length(name, length, "samples")
        return np.concatenate([self._array(name) for name in names])

    def _by_input(self) -> Dataset:
        label = next((name for name in _LABELS if name in self._headers), None)
        candidates = {name: header for name, header in self._headers.items() if name not in _ROLES}
        length = self._length(label, candidates)
        if length == 0:
            raise MismatchedDataset(f"the dataset has no samples: {_listing(self._headers.values())}")
        inputs = sorted(name for name, header in candidates.items() if header.shape and header.length == length)
        if label is not None and not inputs:
            found = ", ".join(f"{name} has {header.length:,}" for name, header in candidates.items()) or "there is none"
            raise MismatchedDataset(f"{label} has {length:,} entries, but no array of samples has as many: {found}")
        for name in ("split", "groups"):
            if name in self._headers:
                self._check_length(name, length, "samples")
        labels = read_labels(label, self._array(label)) if label is not None else None
        self._note_unused({*inputs, "split", "groups", "class_names", *([label] if label else [])})
        split = read_split("split", self._array("split")) if "split" in self._headers else None
        groups = self._array("groups") if "groups" in self._headers else None
        return self._dataset({name: self._samples(name) for name in inputs}, labels, split, groups)

    def _length(self, label: str | None, candidates: dict[str, ArrayHeader]) -> int:
        if label is not None:
            return self._headers[label].length
        lengths = {header.length for header in candidates.values() if header.shape}
        if not lengths:
            raise MismatchedDataset(
                "the file has no array of samples; expected are x_train, y_train, x_test, y_test, or one array per "
                f"model input and labels. Found: {_listing(self._headers.values())}"
            )
        if len(lengths) > 1:
            raise MismatchedDataset(
                "without labels every array must have the same number of samples; found "
                f"{_listing(candidates.values())}"
            )
        return lengths.pop()

    def _dataset(
        self, arrays: dict[str, Array], labels: Labels | None, split: npt.NDArray[np.int8] | None, groups: Array | None
    ) -> Dataset:
        class_names = labels.class_names if labels else None
        if class_names is None and "class_names" in self._headers and labels and labels.values.dtype.kind == "i":
            class_names = read_class_names("class_names", self._array("class_names"))
            if len(class_names) <= (largest := int(labels.values.max())):
                raise MismatchedDataset(f"class_names has {len(class_names)} names, but the labels go up to {largest}")
        numbers, group_names = read_groups("groups", groups) if groups is not None else (None, None)
        return Dataset(
            format="npz",
            arrays=arrays,
            labels=labels.values if labels else None,
            split=split,
            groups=numbers,
            class_names=class_names,
            group_names=group_names,
            notes=(*(labels.notes if labels else ()), *self._notes),
        )

    def _check_length(self, name: str, length: int, what: str) -> None:
        if self._headers[name].length != length or not self._headers[name].shape:
            raise MismatchedDataset(f"{name} has {self._headers[name].length:,} entries for {length:,} {what}")

    def _note_unused(self, used: set[str]) -> None:
        unused = [header for name, header in self._headers.items() if name not in used]
        if unused:
            self._notes.append(f"not used: {_listing(unused)}")


def _listing(headers: Iterable[ArrayHeader]) -> str:
    listed = [f"{header.name} {header.shape}" for header in headers]
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "") or "nothing"


def _parts(array: Array) -> Iterable[Array]:
    """Slices of a few megabytes, so that a test of every value needs no second array of that size."""
    rows = max(1, (4 << 20) // max(1, array[:1].size)) if array.ndim else 1
    return (array[start : start + rows] for start in range(0, len(array), rows))
