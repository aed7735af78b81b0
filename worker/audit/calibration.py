"""Does the network still know when it is right?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.contract.report import Calibration
from worker.audit.bootstrap import paired_bootstrap
from worker.data.answers import Answers

__all__ = ["CalibrationChange", "calibration_change", "expected_calibration_error"]

BINS = 15

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CalibrationChange:
    """The section of the report, and the one-sided bounds of the change that the gate uses, in points."""

    section: Calibration
    lower: float
    upper: float


def expected_calibration_error(answers: Answers, weights: Reals | None = None) -> float:
    """`Σ_b n_b/n · |accuracy_b − confidence_b|` over 15 bins of equal width, a fraction.

    Biased upward: a perfectly calibrated network scores 0.042 on 100 samples, so only changes are judged. Source: Guo
    et al., ICML 2017, eq. 3.
    """
    terms = _Terms(answers)
    return terms.error(np.ones(len(answers)) if weights is None else weights)


def calibration_change(reference: Answers, pruned: Answers, alpha: float, seed: int) -> CalibrationChange:
    """Change of the calibration error, pruned − reference, with a paired bootstrap."""
    before, after = _Terms(reference), _Terms(pruned)

    def change(weights: Reals) -> float:
        return 100.0 * (after.error(weights) - before.error(weights))

    two_sided, one_sided = paired_bootstrap(len(reference), change, (0.025, alpha), seed)
    whole = np.ones(len(reference))
    section = Calibration(
        ece_ref=100.0 * before.error(whole),
        ece=100.0 * after.error(whole),
        change=change(whole),
        ci95=list(two_sided),
        overconfidence_change=100.0 * (after.overconfidence() - before.overconfidence()),
    )
    return CalibrationChange(section=section, lower=one_sided[0], upper=one_sided[1])


class _Terms:
    """What the error is a sum of, kept so that thousands of resamples cost one `bincount` each."""

    def __init__(self, answers: Answers) -> None:
        confidence = answers.confidence
        self._bin = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self._gap = answers.correct - confidence

    def error(self, weights: Reals) -> float:
        sums = np.bincount(self._bin, weights=weights * self._gap, minlength=BINS)
        return float(np.abs(sums).sum() / weights.sum())

    def overconfidence(self) -> float:
        """Mean confidence minus accuracy."""
        return float(-self._gap.mean())
