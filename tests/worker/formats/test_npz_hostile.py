"""An `.npz` neither runs code nor takes more memory than its limit."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.worker.formats.archives import Members, pickle_bomb, write_zip
from worker.errors import MalformedDataset, UnreadableDataset, UnsafeDataset
from worker.formats.dataset import read_dataset
from worker.order import ChildLimits


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array))
    return buffer.getvalue()


def raw(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def described(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


GOOD = {"x.npy": npy(np.zeros((4, 3), np.float32)), "labels.npy": npy(np.array([0, 1, 0, 1]))}

HOSTILE: dict[str, tuple[Callable[[Path], Members], type[UnreadableDataset], str]] = {
    "objects": (
        lambda s: {"x.npy": raw(described("'|O'", "(4,)"), pickle_bomb(s))},
        UnsafeDataset,
        "'x' holds Python objects.*numpy.asarray",
    ),
    "objects in an unused array": (
        lambda s: {**GOOD, "extra.npy": raw(described("'|O'", "(1,)"), pickle_bomb(s))},
        UnsafeDataset,
        "'extra' holds Python objects",
    ),
    "objects within a record": (
        lambda s: {"x.npy": raw(described("[('a', '|O')]", "(4,)"), pickle_bomb(s))},
        MalformedDataset,
        "'x' has dtype",
    ),
    "code as a header": (
        lambda s: {"x.npy": raw(f"__import__('pathlib').Path({str(s)!r}).touch()")},
        MalformedDataset,
        "'x' has a header that NumPy does not write",
    ),
    "a nested header": (lambda _: {"x.npy": raw("(" * 9000)}, MalformedDataset, "'x' has a header"),
    "a long header": (
        lambda _: {"x.npy": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little")},
        MalformedDataset,
        "header of 2,147,483,648 bytes",
    ),
    "a shape without data": (
        lambda _: {"x.npy": raw(described("'<f4'", "(4, 1000000)"))},
        MalformedDataset,
        "'x' of shape .* needs 16,000,000 bytes and has 0",
    ),
    "a shape beyond memory": (
        lambda _: {"x.npy": raw(described("'<f4'", "(4, 1000000000, 1000000)"))},
        UnsafeDataset,
        "'x' of shape .* limit",
    ),
    "a shape beyond numbers": (
        lambda _: {"x.npy": raw(described("'<f4'", f"({'9' * 100},)"))},
        MalformedDataset,
        "impossible shape",
    ),
    "a negative shape": (lambda _: {"x.npy": raw(described("'<f4'", "(-4,)"))}, MalformedDataset, "header"),
    "more data than its shape": (
        lambda _: {"x.npy": npy(np.zeros(4)) + bytes(1 << 24)},
        MalformedDataset,
        "'x' .* has more",
    ),
    "half an array": (lambda _: {"x.npy": npy(np.zeros(4))[:-8]}, MalformedDataset, "needs 32 bytes and has 24"),
    "no array": (lambda s: {"x.npy": pickle_bomb(s)}, MalformedDataset, "'x.npy' is no NumPy array"),
    "a member that is no array": (
        lambda s: {**GOOD, "evil.pkl": pickle_bomb(s)},
        MalformedDataset,
        "'evil.pkl' of the .npz is no array",
    ),
    "a name that leaves the archive": (
        lambda _: {**GOOD, "../x.npy": b""},
        UnsafeDataset,
        "'../x.npy' leaves the archive",
    ),
    "too many arrays": (
        lambda _: {f"a{number}.npy": GOOD["x.npy"] for number in range(1001)},
        UnsafeDataset,
        "1,001 members",
    ),
    "texts without characters": (lambda _: {"x.npy": raw(described("'<U0'", "(4,)"))}, MalformedDataset, "dtype '<U0'"),
    "truth that is neither": (
        lambda _: {"x.npy": raw(described("'|b1'", "(4,)"), b"\x02" * 4)},
        MalformedDataset,
        "'x' holds bytes that are neither",
    ),
    "a split in another alphabet": (
        lambda _: {**GOOD, "split.npy": raw(described("'|S1'", "(4,)"), b"\xff" * 4)},
        MalformedDataset,
        "split holds bytes that are no text",
    ),
    "complex numbers": (lambda _: {"x.npy": npy(np.zeros(4, complex))}, MalformedDataset, "'x' has dtype '<c16'"),
    "texts that are no texts": (
        lambda _: {**GOOD, "labels.npy": raw(described("'<U1'", "(4,)"), b"\xff" * 16)},
        MalformedDataset,
        "labels",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_arrays_are_refused_by_name(name: str, tmp_path: Path, sentinel: Path, limits: ChildLimits) -> None:
    craft, kind, expected = HOSTILE[name]
    path = write_zip(tmp_path / "data.npz", craft(sentinel), zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableDataset, match=expected) as caught:
        read_dataset(path, limits)
    assert type(caught.value) is kind
    assert not sentinel.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_an_array_that_occurs_twice_is_refused_by_name(tmp_path: Path, limits: ChildLimits) -> None:
    write_zip(tmp_path / "data.npz", GOOD)
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.writestr("x.npy", GOOD["x.npy"])
    with pytest.raises(UnsafeDataset, match=r"'x\.npy' occurs twice"):
        read_dataset(tmp_path / "data.npz", limits)


def test_a_truncated_file_is_refused(tmp_path: Path, limits: ChildLimits) -> None:
    whole = write_zip(tmp_path / "data.npz", GOOD).read_bytes()
    for size in (3, 60, len(whole) - 10):
        (tmp_path / "data.npz").write_bytes(whole[:size])
        with pytest.raises(MalformedDataset, match=r"truncated|damaged"):
            read_dataset(tmp_path / "data.npz", limits)


@pytest.mark.parametrize(
    ("content", "kind", "expected"),
    [
        (b"", MalformedDataset, "empty"),
        (b"\x80\x04K\x01.", UnsafeDataset, "pickle"),
        (GOOD["x.npy"], MalformedDataset, "one array without a name.*numpy.savez"),
        (b"a,b,c\n1,2,3\n", MalformedDataset, "no dataset"),
    ],
    ids=["empty", "pickle", "npy", "csv"],
)
def test_other_files_are_refused_by_what_they_are(
    content: bytes, kind: type[UnreadableDataset], expected: str, tmp_path: Path, limits: ChildLimits
) -> None:
    (tmp_path / "data").write_bytes(content)
    with pytest.raises(kind, match=expected):
        read_dataset(tmp_path / "data", limits)
