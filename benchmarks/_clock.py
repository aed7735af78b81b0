"""Time on a machine that others use too: CPU time, medians, intervals that assume nothing, and an upper limit."""

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

__all__ = ["TookTooLong", "capped", "cpu_seconds", "median_interval"]


class TookTooLong(BaseException):
    """The limit is reached. No Exception, which what is measured might catch."""


@contextmanager
def capped(seconds: float) -> Iterator[None]:
    """Raises TookTooLong once the process has used `seconds` of CPU."""

    def stop(*_: object) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Seconds of CPU of the process; what earlier work left behind is collected before."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def median_interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """The median and its 95 % interval by order statistics, which holds for any distribution. At least six values."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    assert rank, "five values and fewer have no interval of 95 %"
    return float(np.median(ordered)), float(ordered[rank - 1]), float(ordered[-rank])
