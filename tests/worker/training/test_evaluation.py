from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.worker.digits import digits_samples, trained_digits
from tests.worker.photos import photo_samples, resnet20
from worker.data.predictions import Predictions
from worker.training.device import resolve_device
from worker.training.evaluation import Score, predict, score


def predictions(logits, labels=None) -> Predictions:
    logits = np.asarray(logits, np.float32)
    return Predictions(logits, None if labels is None else np.asarray(labels), np.arange(len(logits)))


def test_predictions_are_those_of_the_network_row_by_row():
    samples = digits_samples("confirm")
    found = predict(trained_digits(), samples, batch_size=64)
    everything = next(samples.batches(len(samples)))
    np.testing.assert_allclose(found.logits, trained_digits()(*everything.inputs)[0].detach().numpy(), atol=1e-5)
    assert found.logits.dtype == np.float32
    assert found.rows.tolist() == samples.rows.tolist()
    assert found.labels.tolist() == samples.labels.tolist()


def test_progress_is_told_in_samples():
    done: list[int] = []
    samples = digits_samples("tuning")
    predict(trained_digits(), samples, batch_size=50, on_batch=done.append)
    assert done[:2] == [50, 100]
    assert done[-1] == len(samples)


def test_an_empty_split_has_no_answers_and_no_score():
    empty = replace(digits_samples("tuning"), rows=np.zeros(0, np.int64))
    found = predict(trained_digits(), empty)
    assert found.logits.shape == (0, 0)
    assert score(found, "classification") == Score(None)


def test_accuracy_and_worst_recall_are_per_cent_of_the_classes_that_occur():
    logits = np.eye(4)[[0, 0, 1, 1, 3, 3]]
    found = score(predictions(logits, [0, 0, 0, 1, 3, 3]), "classification")
    assert found.accuracy == pytest.approx(100 * 5 / 6)
    assert found.worst_recall == pytest.approx(100 * 2 / 3)  # class 2 does not occur
    right, wrong = np.log(np.e + 3) - 1, np.log(np.e + 3)
    assert found.loss == pytest.approx((5 * right + wrong) / 6)


def test_regression_is_scored_by_squared_error():
    labels = np.array([[0.0], [2.0]], np.float32)
    assert score(predictions([[1.0], [2.0]], labels), "regression") == Score(0.5)


def test_without_labels_the_score_is_the_divergence_from_the_teacher():
    teacher, student = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    found = score(predictions(student), "unlabelled", predictions(teacher))
    assert found.loss == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3), rel=1e-6)
    assert score(predictions(student), "unlabelled") == Score(None)
    assert score(predictions([[3.0]]), "unlabelled", predictions([[1.0]])) == Score(4.0)


def test_scores_rank_by_accuracy_then_worst_class_then_loss():
    ranked = [Score(0.1, 89.0, 80.0), Score(0.3, 90.0, 60.0), Score(0.3, 90.0, 70.0), Score(0.2, 90.0, 70.0)]
    assert sorted(ranked, key=lambda score: score.rank) == ranked
    assert Score(0.1).rank > Score(0.2).rank


def test_the_published_network_reaches_its_accuracy_on_real_photos(shared_data):
    network = resnet20(shared_data)
    found = score(predict(network, photo_samples(shared_data, network)), "classification")
    assert found.accuracy == pytest.approx(91.75)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused_and_auto_does_without():
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(RuntimeError, match="torch sees no GPU"):
        resolve_device("cuda")
