from dataclasses import replace

import numpy as np
import pytest
import torch

from service.contract.recipe import Input
from tests.worker.data.datasets import dataset
from tests.worker.digits import digits_samples
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.graph.network import TensorSpec


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_batches_go_through_the_split_in_order():
    samples = digits_samples("confirm")
    batches = list(samples.batches(100))
    assert torch.cat([batch.rows for batch in batches]).tolist() == samples.rows.tolist()
    assert [len(batch.rows) for batch in batches[:-1]] == [100] * (len(batches) - 1)
    assert torch.cat([batch.labels for batch in batches]).tolist() == samples.labels.tolist()


@pytest.mark.parametrize(("samples", "batch_size"), [(10, 4), (10, 10), (10, 64), (9, 8), (3, 2), (7, 1), (1, 8)])
def test_training_shows_each_sample_once_in_even_batches(samples: int, batch_size: int):
    all_ = digits_samples("train")
    few = replace(all_, rows=all_.rows[:samples])
    batches = list(few.train_batches(batch_size, generator()))
    sizes = [len(batch.rows) for batch in batches]
    assert sorted(torch.cat([batch.rows for batch in batches]).tolist()) == sorted(few.rows.tolist())
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, samples)
    assert len(sizes) == few.train_batch_count(batch_size)


def test_the_generator_decides_order_and_views():
    samples = digits_samples("train")
    first = next(samples.train_batches(64, generator(), ["crop"]))
    again = next(samples.train_batches(64, generator(), ["crop"]))
    other = next(samples.train_batches(64, generator(1), ["crop"]))
    assert torch.equal(first.rows, again.rows)
    assert torch.equal(first.inputs[0], again.inputs[0])
    assert not torch.equal(first.rows, other.rows)


def test_views_are_taken_before_normalisation_so_that_padding_is_black():
    samples = digits_samples("train")
    batch = next(samples.train_batches(256, generator(), ["crop"]))
    black = samples.transform.normalize((torch.zeros(1, 1, 8, 8, dtype=torch.uint8),))[0][0, 0, 0, 0]
    assert batch.inputs[0].min() == black
    plain = samples.transform(samples.dataset, batch.rows.numpy())[0]
    moved = (batch.inputs[0] != plain).flatten(1).any(1)
    assert 0.5 < float(moved.float().mean()) < 1.0  # one offset of nine is no move


def test_real_targets_come_flat_in_single_precision():
    data = dataset(x=np.zeros((4, 3)), labels=np.arange(24.0).reshape(4, 2, 3))
    transform = InputTransform.build(Input(), data, (TensorSpec("x", ("batch", 3), torch.float32),))
    samples = SplitSamples(data, np.array([2, 0]), transform, "regression")
    batch = next(samples.batches(8))
    assert batch.labels is not None
    assert batch.labels.dtype == torch.float32
    assert batch.labels.tolist() == [list(range(12, 18)), list(range(6))]
    assert not samples.has_images
