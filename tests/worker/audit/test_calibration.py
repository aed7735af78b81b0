import numpy as np
import pytest

from tests.worker.audit.synthetic import labels_of, predict, wrong_share
from worker.audit.calibration import calibration_change, expected_calibration_error
from worker.data.answers import read_answers
from worker.data.predictions import Predictions


def confident(confidence: float, right: int, n: int) -> Predictions:
    outputs = np.tile(np.log(np.array([confidence, 1 - confidence], dtype=np.float32)), (n, 1))
    labels = np.array([0] * right + [1] * (n - right), dtype=np.int64)
    return Predictions(logits=outputs, labels=labels, rows=np.arange(n))


def test_error_is_the_distance_of_confidence_and_accuracy() -> None:
    answers = read_answers(confident(0.9, right=60, n=100))
    assert expected_calibration_error(answers) == pytest.approx(0.3, abs=1e-6)


def test_a_network_against_itself_changes_by_exactly_nothing() -> None:
    labels = labels_of([50] * 4)
    answers = read_answers(predict(wrong_share(labels, 0.2, 4, 1), labels, 4, 2))
    change = calibration_change(answers, answers, 0.05, seed=0)
    assert change.section.change == 0.0
    assert change.section.ci95 == [0.0, 0.0]


def test_a_planted_change_lies_in_its_interval_and_is_overconfidence() -> None:
    before, after = read_answers(confident(0.8, 400, 500)), read_answers(confident(0.95, 400, 500))
    change = calibration_change(before, after, 0.05, seed=0)
    assert change.section.change == pytest.approx(15.0, abs=0.01)
    assert change.section.ci95[0] <= 15.0 <= change.section.ci95[1]
    assert change.section.overconfidence_change == pytest.approx(15.0, abs=0.01)
    assert 1.0 < change.lower <= change.upper
