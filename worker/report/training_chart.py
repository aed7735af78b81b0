"""Tuning accuracy and loss over the epochs, twin beside pruned."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.contract.report import EpochRecord, Training

__all__ = ["Curve", "TrainingChart", "training_charts"]


@dataclass(frozen=True)
class Curve:
    """`path` are points in a box of 100 × 100 with y downwards; `end` is the height of the last one."""

    arm: Literal["twin", "pruned"]
    path: str
    end: float
    last: str
    chosen: float | None


@dataclass(frozen=True)
class TrainingChart:
    title: str
    description: str
    low: str
    high: str
    last_epoch: int
    curves: list[Curve]


def training_charts(training: Training) -> list[TrainingChart]:
    """None for what was not measured, and none without a second epoch: a point is no curve."""
    wanted: list[tuple[str, str, Callable[[EpochRecord], float | None]]] = [
        ("Accuracy on the tuning split, %", "{:.1f}", lambda record: record.tuning_accuracy),
        ("Loss on the tuning split", "{:.3g}", lambda record: record.tuning_loss),
    ]
    charts = [_chart(title, form, training.epochs, value) for title, form, value in wanted]
    return [chart for chart in charts if chart is not None]


def _chart(
    title: str, form: str, records: list[EpochRecord], value: Callable[[EpochRecord], float | None]
) -> TrainingChart | None:
    known = [(record, y) for record in records if (y := value(record)) is not None and math.isfinite(y)]
    last = max((record.epoch for record, _ in known), default=0)
    if last == 0:
        return None
    low, high = min(y for _, y in known), max(y for _, y in known)
    span = (high - low) or 1.0

    def height(y: float) -> float:
        return 96.0 - 92.0 * (y - low) / span

    curves = []
    arms: tuple[Literal["twin", "pruned"], ...] = ("twin", "pruned")
    for arm in arms:
        points = sorted((record.epoch, y, record.chosen) for record, y in known if record.arm == arm)
        if points:
            curves.append(
                Curve(
                    arm=arm,
                    path=" ".join(f"{100 * epoch / last:.2f},{height(y):.2f}" for epoch, y, _ in points),
                    end=height(points[-1][1]),
                    last=form.format(points[-1][1]),
                    chosen=next((100 * epoch / last for epoch, _, chosen in points if chosen), None),
                )
            )
    ends = "; ".join(f"{curve.arm} ends at {curve.last}" for curve in curves)
    return TrainingChart(
        title=title,
        description=f"{title}, epochs 0 to {last}: {ends}.",
        low=form.format(low),
        high=form.format(high),
        last_epoch=last,
        curves=_apart(curves),
    )


def _apart(curves: list[Curve]) -> list[Curve]:
    """Labels at the ends of two curves that meet would overlap: the upper one moves up, the lower one down."""
    if len(curves) < 2 or abs(curves[0].end - curves[1].end) >= 14:
        return curves
    middle = min(92.0, max(8.0, (curves[0].end + curves[1].end) / 2))
    upper = 0 if curves[0].end <= curves[1].end else 1
    return [
        Curve(curve.arm, curve.path, middle - 7 if index == upper else middle + 7, curve.last, curve.chosen)
        for index, curve in enumerate(curves)
    ]
