"""The three networks of an audit: dense as uploaded, its unpruned twin after the same treatment, and pruned."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.contract.report import ArmEvaluation
from worker.audit.calibration import expected_calibration_error
from worker.audit.metrics import cross_entropy, predicted_counts
from worker.audit.regression import explained_variance, mean_squared_error
from worker.data.answers import read_answers
from worker.data.batches import Task
from worker.data.predictions import Predictions

__all__ = ["Arms", "evaluate_arms"]


@dataclass(frozen=True)
class Arms:
    """Answers of all three on the same samples in the same order."""

    dense: Predictions
    twin: Predictions
    pruned: Predictions

    def __post_init__(self) -> None:
        for name, arm in (("twin", self.twin), ("pruned", self.pruned)):
            if arm.logits.shape != self.dense.logits.shape or not np.array_equal(arm.rows, self.dense.rows):
                raise ValueError(
                    f"the {name} network answered {arm.logits.shape}, the dense one {self.dense.logits.shape}: "
                    f"paired tests need the same rows in the same order and the same number of outputs"
                )
            if (arm.labels is None) != (self.dense.labels is None) or (
                arm.labels is not None
                and self.dense.labels is not None
                and not np.array_equal(arm.labels, self.dense.labels)
            ):
                raise ValueError(f"the labels that came with the {name} network are not those of the dense one")


def evaluate_arms(task: Task, confirm: Arms | None, train: Arms | None) -> list[ArmEvaluation]:
    """Each network on its own; empty without data."""
    if confirm is None or not len(confirm.dense.logits):
        return []
    pairs: list[tuple[Literal["dense", "twin", "pruned"], Predictions, Predictions | None]] = [
        ("dense", confirm.dense, train.dense if train else None),
        ("twin", confirm.twin, train.twin if train else None),
        ("pruned", confirm.pruned, train.pruned if train else None),
    ]
    evaluate = _evaluate_regression if task == "regression" else _evaluate
    return [evaluate(name, unseen, seen) for name, unseen, seen in pairs]


def _evaluate(arm: Literal["dense", "twin", "pruned"], unseen: Predictions, seen: Predictions | None) -> ArmEvaluation:
    answers = read_answers(unseen)
    labelled = answers.labels is not None
    accuracy = 100 * float(answers.correct.mean()) if labelled else None
    train_accuracy = None
    if seen is not None and seen.labels is not None and len(seen.logits):
        train_accuracy = 100 * float(read_answers(seen).correct.mean())
    return ArmEvaluation(
        arm=arm,
        loss=cross_entropy(answers) if labelled else None,
        accuracy=accuracy,
        train_accuracy=train_accuracy,
        generalization_gap=None if accuracy is None or train_accuracy is None else train_accuracy - accuracy,
        recall=[None if share is None else 100 * share for share in answers.recall] if labelled else [],
        ece=100 * expected_calibration_error(answers) if labelled else None,
        predicted=predicted_counts(answers),
    )


def _evaluate_regression(
    arm: Literal["dense", "twin", "pruned"], unseen: Predictions, seen: Predictions | None
) -> ArmEvaluation:
    labelled = unseen.labels is not None
    return ArmEvaluation(
        arm=arm,
        loss=mean_squared_error(unseen) if labelled else None,
        train_loss=mean_squared_error(seen)
        if seen is not None and seen.labels is not None and len(seen.logits)
        else None,
        accuracy=None,
        train_accuracy=None,
        generalization_gap=None,
        recall=[],
        ece=None,
        r2=explained_variance(unseen) if labelled else None,
    )
