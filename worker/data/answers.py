"""The answers of a network: predictions read as classes and probabilities."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.data.predictions import Predictions

__all__ = ["Answers", "read_answers"]

# A network that ends in a softmax sums to one this closely in float32.
_SOFTMAX_TOLERANCE = 1e-3
# Sums and differences of outputs beyond this would overflow float32.
_LARGEST_LOGIT = np.float32(1e30)


@dataclass(frozen=True)
class Answers:
    """`answer` int64 (N,) is −1 where the network answered NaN or infinity; `log_probability` float32 (N, C), natural
    logarithm, uniform in those rows; `labels` int64 (N,) or None; `rows` int64 (N,) of the uploaded dataset."""

    answer: npt.NDArray[np.int64]
    log_probability: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.answer)

    @property
    def classes(self) -> int:
        return int(self.log_probability.shape[1])

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """(N,); needs labels."""
        assert self.labels is not None
        return np.asarray(self.answer == self.labels)

    @property
    def recall(self) -> list[float | None]:
        """Share of each class that is recognised; None for a class without samples. Needs labels."""
        assert self.labels is not None
        n = np.bincount(self.labels, minlength=self.classes)
        right = np.bincount(self.labels[self.correct], minlength=self.classes)
        return [float(r / k) if k else None for r, k in zip(right, n, strict=True)]

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """(N,): the probability of the answer."""
        return np.asarray(np.exp(self.log_probability.max(axis=1).astype(np.float64)))


def read_answers(predictions: Predictions) -> Answers:
    """Classes by the largest output, probabilities by softmax, unless the outputs already are probabilities.

    A single output column is read as the logit of class 1 against class 0.
    """
    logits = predictions.logits
    finite = np.asarray(np.isfinite(logits).all(axis=1))
    safe = np.where(finite[:, None], logits, np.float32(0))
    if safe.shape[1] == 1:
        safe = np.concatenate([np.zeros_like(safe), safe], axis=1)
    labels = predictions.labels
    return Answers(
        answer=np.where(finite, safe.argmax(axis=1), -1).astype(np.int64),
        log_probability=_log_probability(np.clip(safe, -_LARGEST_LOGIT, _LARGEST_LOGIT), finite),
        labels=None if labels is None else labels.astype(np.int64),
        rows=predictions.rows,
    )


def _log_probability(outputs: npt.NDArray[np.float32], finite: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    sound = outputs[finite]
    sums_to_one = np.abs(sound.sum(axis=1) - 1.0) < _SOFTMAX_TOLERANCE
    if len(sound) and (sound >= 0).all() and sums_to_one.all():
        # Rows that were not finite are all zero here; like every other row they are normalised, to uniform.
        bounded = np.maximum(outputs, np.float32(1e-12))
        return np.asarray(np.log(bounded / bounded.sum(axis=1, keepdims=True)))
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
