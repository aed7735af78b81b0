"""Numbers about one network, or about two on the same samples. Fractions and nats, not points."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.data.answers import Answers

__all__ = ["Flips", "cross_entropy", "divergences", "flips", "predicted_counts"]

# Rows whose divergences are computed at once: bounds the working memory for many classes.
_CHUNK = 4096

Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Flips:
    """Per class, int64 (C,): samples, right → wrong, wrong → right, and how often either network was right."""

    n: Counts
    lost: Counts
    gained: Counts
    right_ref: Counts
    right: Counts


def flips(reference: Answers, pruned: Answers) -> Flips:
    """Count the samples that changed sides. Both need labels, for the same samples in the same order."""
    assert reference.labels is not None
    labels, ref_right, right = reference.labels, reference.correct, pruned.correct

    def per_class(mask: npt.NDArray[np.bool_]) -> Counts:
        return np.bincount(labels[mask], minlength=reference.classes).astype(np.int64)

    return Flips(
        n=per_class(np.ones_like(right)),
        lost=per_class(ref_right & ~right),
        gained=per_class(~ref_right & right),
        right_ref=per_class(ref_right),
        right=per_class(right),
    )


def predicted_counts(answers: Answers) -> list[int]:
    """How often each class was answered."""
    return [int(k) for k in np.bincount(answers.answer[answers.answer >= 0], minlength=answers.classes)]


def cross_entropy(answers: Answers) -> float:
    """Mean negative log probability of the label, nats."""
    assert answers.labels is not None
    chosen = np.take_along_axis(answers.log_probability, answers.labels[:, None], axis=1)
    return float(-chosen.astype(np.float64).mean())


def divergences(reference: Answers, pruned: Answers) -> tuple[Reals, Reals]:
    """KL(reference ‖ pruned) and the Jensen-Shannon divergence of every sample, nats, float64 (N,).

    JS is symmetric and at most ln 2, so that single samples can be ranked by it. Source: Lin, IEEE Trans. Inf. Theory
    37 (1991).
    """
    kl, js = np.empty(len(reference)), np.empty(len(reference))
    for start in range(0, len(reference), _CHUNK):
        part = slice(start, start + _CHUNK)
        log_p = reference.log_probability[part].astype(np.float64)
        log_q = pruned.log_probability[part].astype(np.float64)
        log_mean = np.logaddexp(log_p, log_q) - np.log(2.0)
        p, q = np.exp(log_p), np.exp(log_q)
        kl[part] = (p * (log_p - log_q)).sum(axis=1)
        js[part] = 0.5 * ((p * (log_p - log_mean)).sum(axis=1) + (q * (log_q - log_mean)).sum(axis=1))
    # Rounding can leave a divergence of equal distributions a hair below zero.
    return np.maximum(kl, 0.0), np.clip(js, 0.0, np.log(2.0))
