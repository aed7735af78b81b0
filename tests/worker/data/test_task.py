import numpy as np
import pytest
import torch

from worker.data.task import task_of
from worker.errors import MismatchedDataset
from worker.graph.network import TensorSpec


def output(*shape: int | str) -> tuple[TensorSpec, ...]:
    return (TensorSpec("logits", ("batch", *shape), torch.float32),)


def test_labels_tell_the_task():
    assert task_of(np.array([0, 9]), output(10)) == "classification"
    assert task_of(np.array([0.5, 9.0]), output(1)) == "regression"
    assert task_of(np.zeros((2, 6)), output(2, 3)) == "regression"
    assert task_of(None, output(10)) == "unlabelled"


@pytest.mark.parametrize("labels", [None, np.array([0, 1]), np.array([0.5, 1.5])])
@pytest.mark.parametrize(
    ("shape", "dtype", "says"),
    [((), torch.float32, r"float32 of shape \(batch,\)"), ((4,), torch.int64, r"int64 of shape \(batch, 4\)")],
)
def test_a_first_output_that_cannot_be_trained_is_refused_with_or_without_labels(labels, shape, dtype, says):
    with pytest.raises(MismatchedDataset, match=says):
        task_of(labels, (TensorSpec("answer", ("batch", *shape), dtype),))


def test_a_size_that_the_model_leaves_free_is_not_checked():
    assert task_of(np.array([12]), output("classes")) == "classification"


@pytest.mark.parametrize(
    ("labels", "shape", "says"),
    [
        (np.array([0, 10]), (10,), "label 10 is out of range: the model's output `logits` has 10 classes"),
        (np.array([-1, 3]), (10,), "label -1 is negative"),
        (np.array([0, 1]), (1,), "for a single output store the labels as floats"),
        (np.array([[0, 1]]), (10,), "one class index per sample"),
        (np.array(["cat"]), (10,), "one class index per sample"),
        (np.array([0, 1]), (10, 4, 4), r"\(batch, classes\)"),
        (np.zeros((5, 3)), (2,), r"labels have shape \(5, 3\)"),
        (np.array([1.0, np.nan]), (1,), "NaN"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(labels, shape, says):
    with pytest.raises(MismatchedDataset, match=says):
        task_of(labels, output(*shape))
