"""How long the dense and the pruned file take in ONNX Runtime, measured side by side."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from scipy.stats import binom

from service.contract.report import LatencyRow
from worker.export.session import open_session

__all__ = ["Speedup", "compare_single", "measure_latency", "speedup"]

_WARM_UP_RUNS = 2
_FEWEST_RUNS = 5
_MOST_RUNS = 200
# A target is decided by intervals. Runs are added in rounds of this many seconds until these are narrow, for the time
# that is usual or, where the target is still open, for the longest: a busy machine needs more runs.
_SECONDS_OF_ROUND = 0.25
_MOST_RUNS_OF_ROUND = 500
_USUAL_ROUNDS, _MOST_ROUNDS = 8, 32
_NARROW = 0.015  # width of an interval, relative to the median

_DTYPES: dict[str, npt.DTypeLike] = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_FREE_LENGTH = 16

Feed = dict[str, npt.NDArray[Any]]


def measure_latency(
    dense_onnx: Path,
    pruned_onnx: Path,
    threads: int = 0,
    batches: tuple[int, ...] = (1, 32),
    seconds_per_cell: float = 2.5,
) -> list[LatencyRow]:
    """Wall-clock times of both files, one row for each batch size with one thread and with `threads` (0: all cores).

    Dense and pruned take turns, and swap who goes first, so that a busy machine slows both alike; medians and
    quartiles are robust against its outliers. A cell takes about `seconds_per_cell`, more only where five runs need it.
    Both files must have the same inputs.
    """
    most = threads or len(os.sched_getaffinity(0))
    rows: list[LatencyRow] = []
    for count in sorted({1, most}):
        dense, pruned = open_session(dense_onnx, count), open_session(pruned_onnx, count)
        rows.extend(_measure(dense, pruned, batch, count, seconds_per_cell) for batch in batches)
        del dense, pruned  # before the next two hold the weights once more
    return rows


def compare_single(
    dense_onnx: Path, pruned_onnx: Path, decided: Callable[[LatencyRow], bool] = lambda _row: True
) -> LatencyRow:
    """One sample on one thread: what the targets `latency` and `speedup` are about.

    Measures for up to two seconds, or until the intervals are narrow, and for up to eight while it is not `decided`.
    """
    pair = _Pair(open_session(dense_onnx, 1), open_session(pruned_onnx, 1), batch=1, threads=1)
    for number in range(1, _MOST_ROUNDS + 1):
        pair.run(_SECONDS_OF_ROUND, _MOST_RUNS_OF_ROUND)
        row = pair.row()
        if (number >= _USUAL_ROUNDS or _is_narrow(row)) and decided(row):
            break
    return row


@dataclass(frozen=True)
class Speedup:
    """Dense ÷ pruned, with its 95 % interval."""

    middle: float
    low: float
    high: float


def speedup(row: LatencyRow) -> Speedup:
    """From the ratio of the medians, and the interval of the median of ratios run by run, widened to hold the former:
    the two differ where a machine has a fast and a slow mode. Without an interval, from the quartiles."""
    low, high = row.ratio_ci95 or (
        row.pruned_iqr_ms[0] / row.dense_iqr_ms[1],
        row.pruned_iqr_ms[1] / row.dense_iqr_ms[0],
    )
    return Speedup(1 / row.ratio, 1 / max(high, row.ratio), 1 / min(low, row.ratio))


def _is_narrow(row: LatencyRow) -> bool:
    pairs = ((row.ratio_ci95, row.ratio), (row.pruned_ci95_ms, row.pruned_ms))
    return all(ends is not None and ends[1] - ends[0] <= _NARROW * middle for ends, middle in pairs)


def _measure(
    dense: ort.InferenceSession, pruned: ort.InferenceSession, batch: int, threads: int, seconds: float
) -> LatencyRow:
    pair = _Pair(dense, pruned, batch, threads)
    pair.run(seconds, _MOST_RUNS)
    return pair.row()


class _Pair:
    """Two files that take turns, and the milliseconds of each run so far."""

    def __init__(self, dense: ort.InferenceSession, pruned: ort.InferenceSession, batch: int, threads: int) -> None:
        self._sessions, self._batch, self._threads = (dense, pruned), batch, threads
        self._feed = _random_feed(dense, batch)
        self._times: tuple[list[float], list[float]] = ([], [])
        for session in self._sessions * _WARM_UP_RUNS:
            session.run(None, self._feed)

    def run(self, seconds: float, most: int) -> None:
        """Up to `most` runs more of each, for about `seconds`."""
        times, first = self._times, len(self._times[0])
        deadline = time.perf_counter() + seconds
        while len(times[0]) < _FEWEST_RUNS or (len(times[0]) < first + most and time.perf_counter() < deadline):
            for which in (0, 1) if len(times[0]) % 2 == 0 else (1, 0):
                start = time.perf_counter()
                self._sessions[which].run(None, self._feed)
                times[which].append(1000.0 * (time.perf_counter() - start))

    def row(self) -> LatencyRow:
        dense, pruned = (np.array(values) for values in self._times)
        dense_ms, pruned_ms = float(np.median(dense)), float(np.median(pruned))
        return LatencyRow(
            batch=self._batch,
            threads=self._threads,
            dense_ms=dense_ms,
            pruned_ms=pruned_ms,
            dense_iqr_ms=[float(q) for q in np.percentile(dense, (25, 75))],
            pruned_iqr_ms=[float(q) for q in np.percentile(pruned, (25, 75))],
            pruned_ci95_ms=_median_interval(pruned),
            ratio=pruned_ms / dense_ms,
            ratio_ci95=_median_interval(pruned / dense),
            runs=len(dense),
        )


def _median_interval(values: npt.NDArray[np.float64]) -> list[float] | None:
    """95 % interval of the median, by order statistics: no matter how the values are distributed. None for fewer than
    six values, of which no interval has 95 %."""
    rank = int(binom.ppf(0.025, len(values), 0.5))
    ordered = np.sort(values)
    return [float(ordered[rank - 1]), float(ordered[-rank])] if rank else None


def _random_feed(session: ort.InferenceSession, batch: int) -> Feed:
    random = np.random.default_rng(0)
    feed: Feed = {}
    for value in session.get_inputs():
        free = (batch, *[_FREE_LENGTH] * len(value.shape))
        shape = [size if isinstance(size, int) else free[min(axis, 1)] for axis, size in enumerate(value.shape)]
        dtype = _DTYPES[value.type]
        numbers = random.standard_normal(shape) if dtype is np.float32 else random.integers(0, 2, shape)
        feed[value.name] = numbers.astype(dtype)
    return feed
