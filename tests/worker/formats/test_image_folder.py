"""Folders of images in an archive become classes, and archives that mislead are refused."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.formats.archives import Members, write_zip
from worker.errors import MalformedDataset, MismatchedDataset, UnreadableDataset, UnsafeDataset
from worker.formats.dataset import describe_dataset, read_dataset
from worker.order import ChildLimits


def picture(value: int, size: tuple[int, int] = (5, 4), mode: str = "RGB", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    colour = (value, 0, 255) if mode == "RGB" else value
    Image.new(mode, size, colour).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def write_tar(path: Path, members: Members, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload] # the mode is one of two
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FOLDERS = {"dog/b.png": picture(2), "cat/a.png": picture(1), "dog/a.jpg": picture(3, kind="JPEG")}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_folders_are_classes_in_alphabetical_order(kind: str, tmp_path: Path, limits: ChildLimits) -> None:
    members = {**FOLDERS, "__MACOSX/cat/._a.png": b"x", "cat/.DS_Store": b"x", "README.txt": b"x"}
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        write_zip(path, members, zipfile.ZIP_DEFLATED)
    else:
        write_tar(path, members, "w" if kind == "tar" else "w:gz")
    dataset = read_dataset(path, limits)
    assert dataset.class_names == ("cat", "dog")
    assert np.array_equal(dataset.labels, [0, 1, 1])
    images = dataset.arrays["x"]
    assert images.shape == (3, 4, 5, 3)
    assert images.dtype == np.uint8
    assert images[0, 0, 0].tolist() == [1, 0, 255]
    assert images[2, 0, 0].tolist() == [2, 0, 255]
    profile = describe_dataset(dataset)
    assert (profile.format, profile.class_counts, profile.splits) == ("images", [1, 2], {"all": 3})
    assert [notice.detail for notice in profile.warnings] == ["not used: 1 files that are no images"]


@pytest.mark.parametrize("root", ["", "my-data/"])
def test_train_and_test_folders_are_the_split(root: str, tmp_path: Path, limits: ChildLimits) -> None:
    members = {
        f"{root}test/cat/a.png": picture(1),
        f"{root}train/dog/a.webp": picture(2, kind="WEBP"),
        f"{root}train/cat/a.bmp": picture(3, kind="BMP"),
    }
    dataset = read_dataset(write_zip(tmp_path / "data.zip", members), limits)
    assert np.array_equal(dataset.split, [0, 0, 1])
    assert np.array_equal(dataset.labels, [0, 1, 0])
    assert dataset.arrays["x"][:, 0, 0, 0].tolist() == [3, 2, 1]


def test_grey_images_keep_one_channel_unless_others_have_colour(tmp_path: Path, limits: ChildLimits) -> None:
    grey = {"a/1.png": picture(7, mode="L"), "b/1.png": picture(9, mode="L")}
    assert read_dataset(write_zip(tmp_path / "grey.zip", grey), limits).arrays["x"].shape == (2, 4, 5, 1)
    mixed = read_dataset(write_zip(tmp_path / "mixed.zip", {**grey, "b/2.png": picture(5)}), limits)
    assert mixed.arrays["x"][:, 0, 0].tolist() == [[7, 7, 7], [9, 9, 9], [5, 0, 255]]
    assert "2 grey images" in mixed.notes[0]


MISFITS: dict[str, tuple[Members, type[UnreadableDataset], str]] = {
    "two sizes": (
        {"a/1.png": picture(1), "a/2.png": picture(1, (6, 4))},
        MismatchedDataset,
        "'a/1.png' has 5 x 4 pixels and 'a/2.png' has 6 x 4.*Resize",
    ),
    "no class folder": ({"1.png": picture(1)}, MismatchedDataset, "'1.png' lies in no class folder"),
    "a split without classes": (
        {"train/a/1.png": picture(1), "test/1.png": picture(1)},
        MismatchedDataset,
        "'test/1.png' lies in no class folder",
    ),
    "another split": (
        {"train/a/1.png": picture(1), "val/a/1.png": picture(1)},
        MismatchedDataset,
        "'val/a/1.png' lies in neither train nor test",
    ),
    "only test": ({"test/a/1.png": picture(1)}, MismatchedDataset, "none in train"),
    "folders in classes": (
        {"a/1.png": picture(1), "a/b/2.png": picture(1)},
        MismatchedDataset,
        "'a/b/2.png' lies in a folder inside",
    ),
    "no images": ({"a/readme.txt": b"x"}, MismatchedDataset, "no image"),
    "half an image": ({"a/1.png": picture(1)[:40]}, MalformedDataset, "'a/1.png' cannot be decoded"),
    "a program called png": ({"a/1.png": b"#!/bin/sh"}, MalformedDataset, "'a/1.png' cannot be decoded"),
    "a GIF called png": ({"a/1.png": b"GIF89a" + bytes(50)}, MalformedDataset, "'a/1.png' cannot be decoded"),
    "sixteen bits": ({"a/1.png": picture(1, mode="I;16")}, MalformedDataset, "'a/1.png' has pixels of mode 'I;16'"),
    "a bomb": ({"a/1.png": picture(0, (9000, 9000), "1")}, UnsafeDataset, "'a/1.png' has 9000 x 9000 pixels"),
    "a bigger bomb": ({"a/1.png": picture(0, (15000, 15000), "1")}, UnsafeDataset, "'a/1.png' is far too large"),
    "many pixels": (
        {f"a/{number}.png": picture(0, (2000, 2000), "L") for number in range(5)},
        UnsafeDataset,
        "16,777,216 bytes of pixels",
    ),
    "an escaping name": ({"a/../../1.png": picture(1)}, UnsafeDataset, "'a/../../1.png' leaves"),
    "an absolute name": ({"/a/1.png": picture(1)}, UnsafeDataset, "'/a/1.png' has an absolute name"),
    "a Windows path": ({"C:\\a\\1.png": picture(1)}, UnsafeDataset, "backslash"),
}


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", MISFITS)
def test_images_that_do_not_fit_are_refused_by_name(name: str, kind: str, tmp_path: Path, limits: ChildLimits) -> None:
    members, error, expected = MISFITS[name]
    path = tmp_path / f"data.{kind}"
    (write_zip if kind == "zip" else write_tar)(path, members)
    with pytest.raises(UnreadableDataset, match=expected) as caught:
        read_dataset(path, limits)
    assert type(caught.value) is error


def _special(kind: bytes, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("a/evil.png")
        member.type = kind
        member.linkname = target
        archive.addfile(member)

    return add


def _twice(archive: tarfile.TarFile) -> None:
    archive.addfile(tarfile.TarInfo("a/evil.png"))
    archive.addfile(tarfile.TarInfo("a/evil.png"))


def _long_name(archive: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("a/evil.png")
    member.pax_headers = {"comment": "x" * (2 << 20)}
    archive.addfile(member)


TARS: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "a symbolic link": (_special(tarfile.SYMTYPE, "/etc/passwd"), "'a/evil.png' is a symbolic link"),
    "a hard link": (_special(tarfile.LNKTYPE, "/etc/passwd"), "'a/evil.png' is a hard link"),
    "a device": (_special(tarfile.CHRTYPE), "'a/evil.png' is no ordinary file"),
    "a pipe": (_special(tarfile.FIFOTYPE), "'a/evil.png' is no ordinary file"),
    "a duplicate": (_twice, "'a/evil.png' occurs twice|cannot be decoded"),
    "a long header": (_long_name, "header of 2,097,"),
}


@pytest.mark.parametrize("name", TARS)
def test_tar_members_that_are_no_files_are_refused_by_name(name: str, tmp_path: Path, limits: ChildLimits) -> None:
    craft, expected = TARS[name]
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        craft(archive)
    with pytest.raises(UnreadableDataset, match=expected):
        read_dataset(tmp_path / "data.tar.gz", limits)


def test_a_tar_that_swells_is_refused(tmp_path: Path, limits: ChildLimits) -> None:
    small = limits.model_copy(update={"dataset_bytes": 1 << 20})
    write_tar(tmp_path / "data.tar.gz", {f"a/{number}.txt": bytes(1 << 20) for number in range(3)})
    with pytest.raises(UnsafeDataset, match="swells"):
        read_dataset(tmp_path / "data.tar.gz", small)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_truncated_tar_is_refused(mode: str, tmp_path: Path, limits: ChildLimits) -> None:
    path = write_tar(
        tmp_path / "data.tar", {"a/1.png": picture(1, (200, 200)), "b/1.png": picture(1, (200, 200))}, mode
    )
    path.write_bytes(path.read_bytes()[: 700 if mode == "w" else 150])
    with pytest.raises(MalformedDataset, match=r"damaged|ends in the middle"):
        read_dataset(path, limits)
