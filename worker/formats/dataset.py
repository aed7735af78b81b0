"""Which kind of dataset a file is, by its content, and the reader for it."""

import zipfile
from pathlib import Path

import numpy as np

from service.contract.resources import DatasetProfile, Notice
from worker.data.dataset import Dataset
from worker.errors import MalformedDataset, UnsafeDataset
from worker.formats.image_folder import read_image_folder
from worker.formats.npz import read_npz
from worker.formats.zips import BadArchive, HostileArchive, checked_zip
from worker.order import ChildLimits

__all__ = ["describe_dataset", "read_dataset"]

_HEAD = 512
_ADVICE = (
    "Datasets are .npz files (numpy.savez(path, x_train=..., y_train=..., x_test=..., y_test=...)) or a zip or tar of "
    "image folders"
)


def read_dataset(path: Path, limits: ChildLimits) -> Dataset:
    """Read an `.npz`, or image folders in a zip or tar.

    Raises:
        UnsafeDataset: pickles, hostile archives, or more than the limits allow.
        MalformedDataset: damaged, or of no known format.
        MismatchedDataset: parts that do not fit each other.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise MalformedDataset("the file is empty")
    if head.startswith(b"PK"):
        return read_npz(path, limits) if _holds_arrays(path) else read_image_folder(path, limits)
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return read_image_folder(path, limits)
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        raise UnsafeDataset(f"the file is a pickle, which is a program. {_ADVICE}")
    if head.startswith(b"\x93NUMPY"):
        raise MalformedDataset(
            "the file is one array without a name: save it with numpy.savez(path, x=..., labels=...)"
        )
    raise MalformedDataset(f"the file is no dataset: it begins with {head[:8].hex(' ')}. {_ADVICE}")


def _holds_arrays(path: Path) -> bool:
    try:
        with checked_zip(path, methods=(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except BadArchive as error:
        raise MalformedDataset(str(error)) from error
    except HostileArchive as error:
        raise UnsafeDataset(str(error)) from error


def describe_dataset(dataset: Dataset) -> DatasetProfile:
    """What a client sees of a dataset: shapes, classes, and how many samples there are of what."""
    labels = dataset.labels
    is_class = labels is not None and labels.dtype.kind == "i"
    counts = np.bincount(labels).tolist() if is_class and labels is not None else None
    return DatasetProfile(
        format=dataset.format,
        arrays=dataset.infos,
        samples=len(dataset),
        labels="none" if labels is None else "class" if is_class else "real",
        classes=None if counts is None else max(len(counts), len(dataset.class_names or ())),
        class_names=list(dataset.class_names) if dataset.class_names else None,
        label_range=None if labels is None else [float(labels.min()), float(labels.max())],
        splits=_splits(dataset),
        class_counts=counts,
        groups=_groups(dataset),
        warnings=[
            *_absent_classes(counts),
            *(Notice(code="dataset-note", detail=note) for note in dataset.notes),
        ],
    )


def _splits(dataset: Dataset) -> dict[str, int]:
    if dataset.split is None:
        return {"all": len(dataset)}
    test = int(dataset.split.sum())
    return {"train": len(dataset) - test, "test": test}


def _groups(dataset: Dataset) -> dict[str, int] | None:
    if dataset.groups is None or dataset.group_names is None:
        return None
    counts = np.bincount(dataset.groups, minlength=len(dataset.group_names)).tolist()
    return dict(zip(dataset.group_names, counts, strict=True))


def _absent_classes(counts: list[int] | None) -> list[Notice]:
    absent = [number for number, count in enumerate(counts or ()) if count == 0]
    if not absent:
        return []
    listed = ", ".join(str(number) for number in absent[:20]) + (", ..." if len(absent) > 20 else "")
    return [Notice(code="absent-classes", detail=f"no sample has the label {listed}")]
