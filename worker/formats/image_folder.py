"""Datasets as an archive of image files, sorted into folders."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from worker.data.dataset import Dataset
from worker.errors import MalformedDataset, MismatchedDataset, UnsafeDataset
from worker.formats.images import IMAGE_SUFFIXES, decode_image
from worker.formats.labels import MOST_CLASSES
from worker.formats.tars import tar_files
from worker.formats.zips import BadArchive, HostileArchive, checked_zip
from worker.order import ChildLimits

__all__ = ["read_image_folder"]

_SPLITS = ("train", "test")
_SWELL = 2
"""An unpacked tar may have this many times the bytes that its pixels may have: compressed images, but also headers."""

_FILE_BYTES = 64 * 1024 * 1024
_IGNORED_FOLDERS = frozenset({"__MACOSX"})
_IGNORED_FILES = frozenset({"Thumbs.db", "desktop.ini"})
_ADVICE = "Expected are files like cat/1.png, or train/cat/1.png and test/cat/2.png"

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Place:
    """Where a file lies: its split (None where the archive has none), its class, and its name."""

    split: str | None
    label: str
    file: str


def read_image_folder(path: Path, limits: ChildLimits) -> Dataset:
    """Read a `.zip`, `.tar` or `.tar.gz` of `class/name.png`, or of `train/class/name.png` and `test/class/name.png`.

    One folder around everything is looked through. All images must have one size. If any is in colour, grey ones are
    repeated to three channels. Classes and samples are in alphabetical order.

    Raises:
        UnsafeDataset: links, escaping names, duplicates, or more than `limits.dataset_bytes`.
        MalformedDataset: a damaged archive or image; named.
        MismatchedDataset: files in no class, images of different sizes; named.
    """
    images: dict[str, Pixels] = {}
    others = 0
    left = limits.dataset_bytes
    try:
        for name, data in _files(path, _SWELL * limits.dataset_bytes):
            if not name.lower().endswith(IMAGE_SUFFIXES):
                others += 1
                continue
            pixels = decode_image(name, data)
            left -= pixels.nbytes
            if left < 0:
                raise UnsafeDataset(
                    f"the images have more than {limits.dataset_bytes:,} bytes of pixels, the limit of this service"
                )
            first = next(iter(images), None)
            if first is not None and images[first].shape[:2] != pixels.shape[:2]:
                raise MismatchedDataset(
                    f"all images must have one size: {first!r} has {_size(images[first])} pixels and {name!r} has "
                    f"{_size(pixels)}. Resize them before the upload"
                )
            images[name] = pixels
    except BadArchive as error:
        raise MalformedDataset(str(error)) from error
    except HostileArchive as error:
        raise UnsafeDataset(str(error)) from error
    if not images:
        raise MismatchedDataset(f"the archive holds no image ({', '.join(IMAGE_SUFFIXES)}). {_ADVICE}")
    return _dataset(images, _places(sorted(images)), others)


def _files(path: Path, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    for name, data in _zip_files(path) if is_zip else tar_files(path, most_bytes, _FILE_BYTES):
        steps = name.removeprefix("./").split("/")
        hidden = any(step.startswith(".") or step in _IGNORED_FOLDERS for step in steps)
        if not hidden and steps[-1] not in _IGNORED_FILES:
            yield "/".join(step for step in steps if step), data


def _zip_files(path: Path) -> Iterator[tuple[str, bytes]]:
    with checked_zip(path, methods=(zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            try:
                with archive.open(member) as stream:
                    data = stream.read(_FILE_BYTES + 1)
            except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
                raise BadArchive(f"the member {member.filename!r} is damaged: {error}") from error
            if len(data) > _FILE_BYTES:
                raise HostileArchive(f"member {member.filename!r} has more than {_FILE_BYTES:,} bytes")
            yield member.filename, data


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]} x {pixels.shape[0]}"


def _places(names: list[str]) -> dict[str, _Place]:
    steps = {name: name.split("/") for name in names}
    roots = {parts[0] for parts in steps.values()}
    if len(roots) == 1 and not roots & set(_SPLITS) and all(len(parts) > 2 for parts in steps.values()):
        steps = {name: parts[1:] for name, parts in steps.items()}
    has_splits = any(parts[0] in _SPLITS and len(parts) > 2 for parts in steps.values())
    return {name: _place(name, parts, has_splits) for name, parts in steps.items()}


def _place(name: str, parts: list[str], has_splits: bool) -> _Place:
    if has_splits and parts[0] not in _SPLITS:
        raise MismatchedDataset(f"{name!r} lies in neither train nor test. {_ADVICE}")
    split, rest = (parts[0], parts[1:]) if has_splits else (None, parts)
    if len(rest) != 2:
        where = "no class folder" if len(rest) < 2 else "a folder inside a class folder"
        raise MismatchedDataset(f"{name!r} lies in {where}. {_ADVICE}")
    return _Place(split, rest[0], rest[1])


def _dataset(images: dict[str, Pixels], places: dict[str, _Place], others: int) -> Dataset:
    order = sorted(images, key=lambda name: (places[name].split != "train", places[name].label, places[name].file))
    names = sorted({place.label for place in places.values()})
    if len(names) > MOST_CLASSES:
        raise MismatchedDataset(f"the archive has {len(names):,} classes; at most {MOST_CLASSES:,}")
    splits = Counter(place.split for place in places.values())
    if None not in splits and "train" not in splits:
        raise MismatchedDataset(f"the archive has images in test, but none in train. {_ADVICE}")
    channels = max(pixels.shape[2] for pixels in images.values())
    first = images[order[0]]
    array = np.empty((len(order), *first.shape[:2], channels), dtype=np.uint8)
    grey = 0
    for row, name in enumerate(order):
        pixels = images.pop(name)  # as the array fills, the pieces go
        grey += pixels.shape[2] < channels
        array[row] = pixels
    numbers = {name: number for number, name in enumerate(names)}
    notes = []
    if grey:
        notes.append(f"{grey:,} grey images were repeated to three channels, because others are in colour")
    if others:
        notes.append(f"not used: {others:,} files that are no images")
    return Dataset(
        format="images",
        arrays={"x": array},
        labels=np.array([numbers[places[name].label] for name in order], dtype=np.int64),
        split=np.array([places[name].split == "test" for name in order], dtype=np.int8) if "test" in splits else None,
        groups=None,
        class_names=tuple(names),
        group_names=None,
        notes=tuple(notes),
    )
