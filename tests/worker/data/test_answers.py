import numpy as np
import pytest

from worker.data.answers import read_answers
from worker.data.predictions import Predictions


def predictions(outputs: list[list[float]]) -> Predictions:
    logits = np.array(outputs, dtype=np.float32)
    return Predictions(logits=logits, labels=None, rows=np.arange(len(logits)))


def test_logits_and_the_probabilities_made_of_them_are_read_the_same() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (50, 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    from_logits, from_softmax = read_answers(predictions(logits.tolist())), read_answers(predictions(softmax.tolist()))
    assert (from_logits.answer == from_softmax.answer).all()
    assert from_logits.confidence == pytest.approx(from_softmax.confidence, rel=1e-4)


def test_a_single_output_is_the_logit_of_class_one() -> None:
    answers = read_answers(predictions([[-1.0], [2.0]]))
    assert answers.answer.tolist() == [0, 1]
    assert answers.confidence[1] == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize("others", [[[3.0, 1.0]], [[0.25, 0.75]]])
def test_not_a_number_is_never_an_answer(others: list[list[float]]) -> None:
    answers = read_answers(predictions([[float("nan"), 1.0], [float("inf"), 0.0], *others]))
    assert answers.answer[:2].tolist() == [-1, -1]
    assert answers.confidence[:2] == pytest.approx([0.5, 0.5])
