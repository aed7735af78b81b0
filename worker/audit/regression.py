"""Regression: how much of the variance is still explained?

There are no classes, so there is no accuracy and no class gate. What takes their place is R², in points: the share of
the variance of the labels that the network explains, averaged over outputs. A drop of one point of R² is judged by the
same margin as a drop of one point of accuracy.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from service.contract.report import Comparison, Drop
from worker.audit.bootstrap import paired_bootstrap
from worker.data.predictions import Predictions

__all__ = ["compare_regression", "explained_variance", "mean_squared_error"]

Reals = npt.NDArray[np.float64]


def mean_squared_error(predictions: Predictions) -> float:
    """In the squared unit of the labels."""
    return float(_squared_errors(predictions).mean())


def explained_variance(predictions: Predictions) -> float | None:
    """R² in per cent, averaged over the outputs whose labels vary; None where none does."""
    scaled = _scaled_errors(predictions)
    return None if scaled is None else 100.0 * (1.0 - float(scaled.mean()))


def compare_regression(
    reference: Predictions, pruned: Predictions, alpha: float, seed: int, kind: Literal["dense", "twin"]
) -> Comparison:
    """Errors of both on the same samples, with a paired bootstrap. Without labels only the sample count is known."""
    drop, difference = None, None
    if reference.labels is not None:
        difference = mean_squared_error(pruned) - mean_squared_error(reference)
        before, after = _scaled_errors(reference), _scaled_errors(pruned)
        if before is not None and after is not None:
            drop = _drop(after - before, alpha, seed)
    return Comparison(
        reference=kind,
        n=len(reference.logits),
        accuracy_ref=None,
        accuracy=None,
        drop=drop,
        disagreement=None,
        disagreement_ci95=None,
        negative_flips=None,
        positive_flips=None,
        kl=None,
        js=None,
        mse=difference,
        r2_ref=None if drop is None else explained_variance(reference),
        r2=None if drop is None else explained_variance(pruned),
        classes=[],
    )


def _drop(excess: Reals, alpha: float, seed: int) -> Drop:
    def mean(weights: Reals) -> float:
        return 100.0 * float(weights @ excess / weights.sum())

    two_sided, one_sided = paired_bootstrap(len(excess), mean, (0.025, alpha), seed)
    return Drop(
        est=mean(np.ones(len(excess))),
        ci95=list(two_sided),
        lower_one_sided=one_sided[0],
        upper_one_sided=one_sided[1],
        method="paired_bootstrap",
    )


def _squared_errors(predictions: Predictions) -> Reals:
    """(N, C) float64. What is not finite counts as an answer of zero: it must not hide in a mean."""
    assert predictions.labels is not None
    outputs = np.nan_to_num(predictions.logits.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray((outputs - predictions.labels.reshape(outputs.shape).astype(np.float64)) ** 2)


def _scaled_errors(predictions: Predictions) -> Reals | None:
    """Squared error of each sample in units of the variance of the labels, (N,)."""
    errors = _squared_errors(predictions)
    assert predictions.labels is not None
    variance = predictions.labels.reshape(errors.shape).astype(np.float64).var(axis=0)
    varies = variance > 0
    return np.asarray((errors[:, varies] / variance[varies]).mean(axis=1)) if varies.any() else None
