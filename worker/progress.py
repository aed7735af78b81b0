"""From "a third of this stage" to "half of this job"."""

import time

__all__ = ["JobProgress"]

# Usual share of each stage in the time of a job with fine-tuning, in the order in which they run. A stage that a job
# skips makes the bar jump; one that is not listed leaves it where it is.
_SHARES = {
    "load": 0.02,
    "profile": 0.03,
    "baseline": 0.10,
    "prune": 0.15,
    "finetune": 0.50,
    "audit": 0.10,
    "compress": 0.02,
    "export": 0.03,
    "verify": 0.04,
    "publish": 0.01,
}

# Before this much was done while we looked, an extrapolation says nothing.
_MIN_FRACTION_FOR_ETA = 0.05


class JobProgress:
    """How far a job has come. Never goes back within an attempt."""

    def __init__(self) -> None:
        self.stage: str | None = None
        self.fraction = 0.0
        self.message = ""
        self._first: tuple[float, float] | None = None

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self.stage = stage
        self.message = ""
        self.update(0.0, "")

    def update(self, fraction: float, message: str) -> None:
        """`fraction` of the current stage is done."""
        self.message = message
        if self.stage in _SHARES:
            stages = list(_SHARES)
            before = sum(_SHARES[stage] for stage in stages[: stages.index(self.stage)])
            self.fraction = max(self.fraction, min(1.0, before + fraction * _SHARES[self.stage]))
        # An attempt that goes on from a checkpoint jumps to where it was: that was not done in this time.
        if fraction > 0 and self._first is None:
            self._first = (time.monotonic(), self.fraction)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end if it goes on like this; None while it is too early to say."""
        if self._first is None:
            return None
        began, fraction = self._first
        if self.fraction - fraction < _MIN_FRACTION_FOR_ETA:
            return None
        return (time.monotonic() - began) * (1 - self.fraction) / (self.fraction - fraction)
