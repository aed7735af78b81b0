import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.data.datasets import dataset
from tests.worker.digits import digits, digits_splits
from worker.data.dataset import Dataset
from worker.data.splits import Splits, make_splits


def distinct(samples: int, classes: int, split: np.ndarray | None = None) -> Dataset:
    return dataset(x=np.arange(samples).reshape(-1, 1), labels=np.arange(samples) % classes, split=split)


@st.composite
def datasets_with_duplicates(draw) -> Dataset:
    samples = draw(st.integers(1, 60))
    contents = draw(st.lists(st.integers(0, 20), min_size=samples, max_size=samples))
    labels = draw(st.none() | st.lists(st.integers(0, 3), min_size=samples, max_size=samples))
    split = draw(st.none() | st.lists(st.integers(0, 1), min_size=samples, max_size=samples))
    return dataset(x=np.array(contents).reshape(-1, 1), labels=labels, split=split)


@given(datasets_with_duplicates(), st.integers(1, 50), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_no_content_is_in_two_splits_and_no_row_is_lost(data: Dataset, calibration: int, seed: int):
    splits = make_splits(data, calibration, seed)
    parts = [splits.train.rows, splits.tuning.rows, splits.confirm.rows]
    contents = [set(data.arrays["x"][rows, 0].tolist()) for rows in parts]
    assert splits.disjoint
    assert sum(map(len, contents)) == len(set().union(*contents))
    rows = np.concatenate(parts)
    assert len(np.unique(rows)) == len(rows) == len(data) - splits.duplicates_removed
    assert set(splits.calibration.rows) <= set(splits.train.rows)
    assert len(splits.calibration) == min(calibration, len(splits.train))


@given(datasets_with_duplicates(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_upload_does_not_matter(data: Dataset, random):
    if data.labels is not None:  # copies of one sample under several labels are the exception: keep one label each
        data = dataset(x=data.arrays["x"], labels=data.arrays["x"][:, 0] % 4, split=data.split)
    order = list(range(len(data)))
    random.shuffle(order)
    shuffled = dataset(
        x=data.arrays["x"][order],
        labels=None if data.labels is None else data.labels[order],
        split=None if data.split is None else data.split[order],
    )
    assert make_splits(data, 10, 0).infos() == make_splits(shuffled, 10, 0).infos()


def test_the_uploaded_test_part_is_the_confirm_split():
    split = np.arange(1000) >= 800
    splits = make_splits(distinct(1000, 10, split), 200, seed=0)
    assert splits.confirm.rows.tolist() == list(range(800, 1000))
    assert np.bincount(splits.tuning.rows % 10).tolist() == [8] * 10
    assert len(splits.train) == 720
    assert splits.duplicates_removed == 0


def test_training_samples_that_are_in_the_test_part_too_are_removed_and_counted():
    pixels = np.arange(100).reshape(-1, 1)
    pixels[[3, 4]] = pixels[[95, 96]]
    splits = make_splits(dataset(x=pixels, labels=np.zeros(100, int), split=np.arange(100) >= 90), 10, seed=0)
    assert splits.duplicates_removed == 2
    assert not {3, 4} & {*splits.train.rows, *splits.tuning.rows}
    assert splits.disjoint


def test_tuning_is_bounded_and_knows_every_class():
    splits = make_splits(distinct(50_000, 10, np.arange(50_000) >= 49_000), 10, seed=0)
    assert len(splits.tuning) == 2000
    few = make_splits(distinct(300, 100, np.arange(300) >= 290), 10, seed=0)
    assert set(few.tuning.rows % 100) == set(range(100))


def test_without_a_split_a_fifth_is_confirmed_on():
    splits = make_splits(distinct(10_000, 10), 10, seed=0)
    assert np.bincount(splits.confirm.rows % 10).tolist() == [200] * 10


def test_small_classes_give_more_so_that_a_class_gate_can_pass_at_all():
    assert digits().labels is not None
    confirmed = np.bincount(digits().labels[digits_splits().confirm.rows])
    assert confirmed.min() >= 59  # fewer than 59 can never show a loss below 5 points at 95 %
    assert len(digits_splits().train) > len(digits_splits().confirm)


def test_an_upload_that_is_all_training_data_is_divided():
    assert len(make_splits(distinct(500, 5, np.zeros(500)), 10, seed=0).confirm) == 200


def test_an_upload_that_is_all_test_data_leaves_nothing_to_train_on():
    splits = make_splits(distinct(50, 5, np.ones(50)), 10, seed=0)
    assert len(splits.confirm) == 50
    assert [len(split) for split in (splits.train, splits.tuning, splits.calibration)] == [0, 0, 0]


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 10])
def test_a_handful_of_samples_is_divided_training_first(samples: int):
    splits = make_splits(distinct(samples, 1), 10, seed=0)
    assert len(splits.train) >= 1
    assert (len(splits.confirm) >= 1) == (samples >= 2)
    assert (len(splits.tuning) >= 1) == (samples >= 3)


def test_classes_of_one_sample_each_are_divided_together():
    splits = make_splits(distinct(100, 100), 10, seed=0)
    assert len(splits.confirm) == 40


@pytest.mark.parametrize("labels", [None, np.linspace(0, 1, 500), np.zeros((500, 3))])
def test_real_targets_and_no_labels_are_divided_without_classes(labels):
    splits = make_splits(dataset(x=np.arange(500).reshape(-1, 1), labels=labels), 100, seed=0)
    assert (len(splits.confirm), len(splits.tuning)) == (150, 35)
    assert splits.confirm.info.labels == (labels is not None)


def test_the_calibration_split_is_stratified_and_mixes_the_classes():
    labels = np.repeat(np.arange(10), 100)  # class after class, as many uploads are
    splits = make_splits(dataset(x=np.arange(1000).reshape(-1, 1), labels=labels), 200, seed=0)
    assert np.bincount(labels[splits.calibration.rows]).tolist() == [20] * 10
    assert all(len(set(labels[part])) >= 7 for part in np.array_split(splits.calibration.rows, 5))


def test_the_seed_decides():
    def confirmed(seed: int) -> Splits:
        return make_splits(distinct(1000, 10), 100, seed)

    assert confirmed(0).infos() == confirmed(0).infos()
    assert confirmed(0).confirm.sha256 != confirmed(1).confirm.sha256


def test_a_sample_that_is_added_moves_at_most_a_few_others():
    before = set(make_splits(distinct(1000, 1), 10, seed=0).confirm.rows)
    after = set(make_splits(distinct(1001, 1), 10, seed=0).confirm.rows)
    assert len(before ^ after) <= 2
