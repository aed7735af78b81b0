"""Arrays become a dataset in either layout, and whatever does not fit is refused by name and number."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.data.dataset import Dataset
from worker.errors import MismatchedDataset, UnsafeDataset
from worker.formats.dataset import describe_dataset, read_dataset
from worker.order import ChildLimits

IMAGES = np.arange(6 * 4 * 4 * 3, dtype=np.uint8).reshape(6, 4, 4, 3)
CLASSES = np.array([0, 1, 2, 0, 1, 2])


def read(folder: Path, limits: ChildLimits, **arrays: Any) -> Dataset:
    np.savez_compressed(folder / "data.npz", **arrays)
    return read_dataset(folder / "data.npz", limits)


def test_the_keras_layout_is_read_as_train_and_test(tmp_path: Path, limits: ChildLimits) -> None:
    dataset = read(
        tmp_path,
        limits,
        x_train=IMAGES[:4],
        y_train=CLASSES[:4],
        x_test=IMAGES[4:],
        y_test=CLASSES[4:],
        class_names=np.array(["ant", "bee", "cat"]),
        src_train=np.arange(4),
    )
    assert np.array_equal(dataset.arrays["x"], IMAGES)
    assert np.array_equal(dataset.labels, CLASSES)
    assert np.array_equal(dataset.split, [0, 0, 0, 0, 1, 1])
    profile = describe_dataset(dataset)
    assert (profile.samples, profile.labels, profile.classes, profile.class_counts) == (6, "class", 3, [2, 2, 2])
    assert profile.class_names == ["ant", "bee", "cat"]
    assert profile.splits == {"train": 4, "test": 2}
    assert [notice.detail for notice in profile.warnings] == ["not used: src_train (4,)"]


def test_arrays_by_input_are_read_with_split_and_groups(tmp_path: Path, limits: ChildLimits) -> None:
    dataset = read(
        tmp_path,
        limits,
        image=IMAGES,
        age=np.linspace(0, 1, 6, dtype=np.float32),
        labels=CLASSES.astype(np.int8),
        split=np.array(["train", "test"] * 3),
        groups=np.array(["m", "f", "m", "f", "m", "f"]),
    )
    assert list(dataset.arrays) == ["age", "image"]
    assert dataset.labels is not None
    assert dataset.labels.dtype == np.int64
    profile = describe_dataset(dataset)
    assert profile.splits == {"train": 3, "test": 3}
    assert profile.groups == {"f": 3, "m": 3}


def test_groups_of_the_keras_layout_follow_their_parts(tmp_path: Path, limits: ChildLimits) -> None:
    parts = {"x_train": IMAGES[:4], "y_train": CLASSES[:4], "x_test": IMAGES[4:], "y_test": CLASSES[4:]}
    apart = read(tmp_path, limits, **parts, groups_train=np.array([7, 7, 9, 9]), groups_test=np.array([9, 7]))
    together = read(tmp_path, limits, **parts, groups=np.array([7, 7, 9, 9, 9, 7]))
    assert apart.group_names == together.group_names == ("7", "9")
    assert np.array_equal(apart.groups, [0, 0, 1, 1, 1, 0])
    assert np.array_equal(apart.groups, together.groups)


def test_unlabelled_arrays_are_a_dataset(tmp_path: Path, limits: ChildLimits) -> None:
    profile = describe_dataset(read(tmp_path, limits, x=IMAGES))
    assert (profile.samples, profile.labels, profile.classes, profile.splits) == (6, "none", None, {"all": 6})


def test_float_labels_are_real_targets_and_texts_are_classes(tmp_path: Path, limits: ChildLimits) -> None:
    real = describe_dataset(read(tmp_path, limits, x=IMAGES, labels=np.linspace(-1, 1.5, 6)))
    assert (real.labels, real.label_range, real.classes) == ("real", [-1.0, 1.5], None)
    words = read(tmp_path, limits, x=IMAGES, labels=np.array(["dog", "cat", "dog", "cat", "cat", "dog"]))
    assert words.class_names == ("cat", "dog")
    assert np.array_equal(words.labels, [1, 0, 1, 0, 0, 1])


def test_one_hot_rows_and_columns_become_class_numbers(tmp_path: Path, limits: ChildLimits) -> None:
    one_hot = read(tmp_path, limits, x=IMAGES, labels=np.eye(3, dtype=np.float32)[CLASSES])
    column = read(tmp_path, limits, x=IMAGES, labels=CLASSES[:, None])
    assert np.array_equal(one_hot.labels, CLASSES)
    assert np.array_equal(column.labels, CLASSES)
    assert "one-hot" in one_hot.notes[0]


def test_class_numbers_may_have_gaps_and_the_profile_says_so(tmp_path: Path, limits: ChildLimits) -> None:
    profile = describe_dataset(read(tmp_path, limits, x=IMAGES, labels=np.array([0, 3, 3, 0, 5, 5])))
    assert (profile.classes, profile.class_counts) == (6, [2, 0, 0, 2, 0, 2])
    assert profile.warnings[0].detail == "no sample has the label 1, 2, 4"


@pytest.mark.parametrize("array", [np.asfortranarray(IMAGES), IMAGES.astype(">i4"), IMAGES[::-1][::-1], IMAGES > 3])
def test_byte_order_and_memory_order_of_the_file_do_not_matter(
    array: np.ndarray[Any, Any], tmp_path: Path, limits: ChildLimits
) -> None:
    found = read(tmp_path, limits, x=array).arrays["x"]
    assert np.array_equal(found, array)
    assert found.dtype.isnative
    assert found.flags.c_contiguous


X = {"x": IMAGES}
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer labels": ({**X, "labels": CLASSES[:5]}, r"labels has 5 entries.*x has 6"),
    "fewer Keras labels": ({"x_train": IMAGES, "y_train": CLASSES[:5]}, "y_train has 5 entries for 6 samples"),
    "no Keras labels": ({"x_train": IMAGES}, "y_train is missing"),
    "no Keras training samples": (
        {"x_test": IMAGES, "y_test": CLASSES},
        "x_test, y_test are there.*x_train is missing",
    ),
    "fewer groups": ({**X, "labels": CLASSES, "groups": CLASSES[:2]}, "groups has 2 entries for 6 samples"),
    "half the groups": (
        {"x_train": IMAGES, "y_train": CLASSES, "x_test": IMAGES, "y_test": CLASSES, "groups_train": CLASSES},
        "groups_test is missing",
    ),
    "other test samples": (
        {"x_train": IMAGES, "y_train": CLASSES, "x_test": IMAGES[:, :2], "y_test": CLASSES},
        r"x_train is uint8 \(6, 4, 4, 3\) and x_test is uint8 \(6, 2, 4, 3\)",
    ),
    "other test labels": (
        {"x_train": IMAGES, "y_train": CLASSES, "x_test": IMAGES, "y_test": CLASSES.astype(float)},
        "y_train is int64.*y_test is float64",
    ),
    "negative labels": ({**X, "labels": CLASSES - 1}, "2 labels in labels are negative"),
    "huge labels": ({**X, "labels": CLASSES * 10**6}, "labels goes up to 2,000,000"),
    "unsigned labels": ({**X, "labels": np.full(6, 2**64 - 1, np.uint64)}, "18,446,744,073,709,551,615"),
    "NaN labels": ({**X, "labels": np.full(6, np.nan)}, "6 of the 6 values of labels are NaN"),
    "NaN samples": ({"x": np.array([[1.0], [np.nan], [np.inf]])}, "2 of the 3 values of 'x' are NaN or infinite"),
    "labels in a table": ({**X, "labels": np.full((6, 2), 3)}, r"integers of shape \(6, 2\)"),
    "no samples": ({"x": IMAGES[:0], "labels": CLASSES[:0]}, "no samples"),
    "no test samples": (
        {"x_train": IMAGES, "y_train": CLASSES, "x_test": IMAGES[:0], "y_test": CLASSES[:0]},
        "x_test has no samples",
    ),
    "nothing": ({"labels": CLASSES}, "no array of samples has as many: there is none"),
    "several lengths": ({"a": IMAGES, "b": IMAGES[:5]}, r"a \(6, 4, 4, 3\), b \(5, 4, 4, 3\)"),
    "texts as samples": ({"x": np.array(["a"] * 6), "labels": CLASSES}, "'x' holds texts"),
    "an odd split": ({**X, "labels": CLASSES, "split": np.arange(6)}, "split holds '2'"),
    "a validation split": ({**X, "labels": CLASSES, "split": np.array(["train", "val"] * 3)}, "split holds 'val'"),
    "a split without train": ({**X, "labels": CLASSES, "split": np.ones(6, int)}, "no sample for training"),
    "too few names": ({**X, "labels": CLASSES, "class_names": np.array(["a"])}, "1 names, but the labels go up to 2"),
    "names of numbers": ({**X, "labels": CLASSES, "class_names": np.arange(3)}, "class_names must hold one text"),
    "a name that is a program": (
        {**X, "labels": CLASSES, "class_names": np.array(["a\x1b[2J", "b", "c"])},
        "printable",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_arrays_that_do_not_fit_are_refused_by_name_and_number(name: str, tmp_path: Path, limits: ChildLimits) -> None:
    arrays, expected = MISFITS[name]
    with pytest.raises(MismatchedDataset, match=expected):
        read(tmp_path, limits, **arrays)


def test_more_bytes_than_the_limit_are_refused_before_they_are_unpacked(tmp_path: Path, limits: ChildLimits) -> None:
    with pytest.raises(UnsafeDataset, match=r"'x' of shape .* 16,777,216 bytes"):
        read(tmp_path, limits, x=np.zeros((6, 4 << 20), np.uint8), labels=CLASSES)
    assert (tmp_path / "data.npz").stat().st_size < 100_000


def test_arrays_that_are_not_used_do_not_count(tmp_path: Path, limits: ChildLimits) -> None:
    dataset = read(tmp_path, limits, x=IMAGES, labels=CLASSES, cache=np.zeros((7, 4 << 20), np.uint8))
    assert list(dataset.arrays) == ["x"]


def test_the_shared_images_are_read(shared_data: Path, limits: ChildLimits) -> None:
    dataset = read_dataset(shared_data / "cifar10-dev.npz", limits.model_copy(update={"dataset_bytes": 1 << 30}))
    profile = describe_dataset(dataset)
    assert profile.splits == {"train": 10_000, "test": 2_000}
    assert profile.class_counts == [1200] * 10
    assert profile.class_names is not None
    assert profile.class_names[6] == "frog"
    assert [notice.detail for notice in profile.warnings] == ["not used: src_train (10000,), src_test (2000,)"]
