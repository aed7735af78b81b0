"""Answers of a network, and how good they are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from worker.data.answers import read_answers
from worker.data.batches import Samples, Task
from worker.data.predictions import Predictions
from worker.graph.network import Network
from worker.training.device import CPU, placed

__all__ = ["Score", "predict", "score"]


@torch.inference_mode()
def predict(
    network: Network,
    samples: Samples,
    batch_size: int = 256,
    device: torch.device = CPU,
    on_batch: Callable[[int], None] | None = None,
) -> Predictions:
    """Run the network, in the mode it is in, over all samples in order.

    `on_batch` is told how many samples are done. An empty split gives logits of shape (0, 0).
    """
    logits, labels, rows = [], [], []
    done = 0
    with placed(device, network):
        for batch in samples.batches(batch_size):
            output = network(*(value.to(device) for value in batch.inputs))[0]
            logits.append(output.flatten(1).float().cpu())
            rows.append(batch.rows)
            if batch.labels is not None:
                labels.append(batch.labels)
            done += len(batch.rows)
            if on_batch is not None:
                on_batch(done)
    if not logits:
        return Predictions(np.zeros((0, 0), np.float32), None, np.zeros(0, np.int64))
    return Predictions(
        logits=torch.cat(logits).numpy(),
        labels=torch.cat(labels).numpy() if labels else None,
        rows=torch.cat(rows).numpy(),
    )


@dataclass(frozen=True)
class Score:
    """`loss` is cross-entropy, mean squared error, or without labels the KL divergence (nats) from the teacher.

    `accuracy` and `worst_recall`, the lowest recall among the classes that occur, are per cent and None unless the
    task is classification.
    """

    loss: float | None
    accuracy: float | None = None
    worst_recall: float | None = None

    @property
    def rank(self) -> tuple[float, float, float]:
        """Greater is better: by accuracy, then by the worst class, then by loss."""
        loss = float("inf") if self.loss is None else self.loss
        return (self.accuracy or 0.0, self.worst_recall or 0.0, -loss)


def score(predictions: Predictions, task: Task, teacher: Predictions | None = None) -> Score:
    """Judge the answers on one split; `teacher` are the dense model's answers on it, needed without labels.

    Without labels a teacher of a single output is compared by squared error. No samples, or nothing to compare with:
    a Score of None.
    """
    logits, labels = torch.from_numpy(predictions.logits), predictions.labels
    if len(logits) == 0:
        return Score(None)
    if task == "classification" and labels is not None:
        answers = read_answers(predictions)
        worst = min(share for share in answers.recall if share is not None)
        loss = float(functional.cross_entropy(logits.double(), torch.from_numpy(labels.astype(np.int64))))
        return Score(loss, 100 * float(answers.correct.mean()), 100 * worst)
    if task == "regression" and labels is not None:
        return Score(float(functional.mse_loss(logits.double(), torch.from_numpy(labels).double())))
    if teacher is None:
        return Score(None)
    wanted = torch.from_numpy(teacher.logits)
    if logits.shape[1] == 1:
        return Score(float(functional.mse_loss(logits.double(), wanted.double())))
    student, dense = (functional.log_softmax(values.double(), dim=1) for values in (logits, wanted))
    return Score(float(functional.kl_div(student, dense, reduction="batchmean", log_target=True)))
