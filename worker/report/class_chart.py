"""Change of recall per class with its interval: where every mark goes, in per cent of the width of the plot."""

import math
from dataclasses import dataclass

from service.contract.report import ClassComparison
from service.contract.resources import Verdict

__all__ = ["ClassChart", "ClassRow", "Tick", "class_chart"]

# More classes than this are no chart; report.json has all of them.
_MOST_ROWS = 40
_FEWEST_FOR_A_RATE = 30
_RANK: dict[Verdict, int] = {"FAIL": 0, "INCONCLUSIVE": 1, "PASS": 2, "NOT_RUN": 3}


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class ClassRow:
    """`low`, `point` and `high` are positions; `cut_*` says that the interval goes on beyond the plot."""

    data: ClassComparison
    status: Verdict
    low: float
    point: float
    high: float
    cut_low: bool
    cut_high: bool
    shows_rate: bool


@dataclass(frozen=True)
class ClassChart:
    rows: list[ClassRow]
    hidden: int
    ticks: list[Tick]
    zero: float
    margin: float
    margin_points: float


def class_chart(classes: list[ClassComparison], margin: float) -> ClassChart:
    """Changes, so that left is worse. `margin` in points; the worst class comes first."""
    rows = sorted(classes, key=lambda row: (_RANK[_overall(row)], -row.drop.est, row.id))
    shown = rows[:_MOST_ROWS]
    reach = _reach(shown, margin)

    def place(change: float) -> float:
        return min(100.0, max(0.0, 50.0 + 50.0 * change / reach))

    step = _step(reach)
    count = math.floor(reach / step + 1e-9)
    ticks = [Tick(place(k * step), f"{k * step:+g}".replace("-", "−") if k else "0") for k in range(-count, count + 1)]
    drawn = [
        ClassRow(
            data=row,
            status=_overall(row),
            low=place(-row.drop.ci95[1]),
            point=place(-row.drop.est),
            high=place(-row.drop.ci95[0]),
            cut_low=row.drop.ci95[1] > reach,
            cut_high=-row.drop.ci95[0] > reach,
            shows_rate=row.n >= _FEWEST_FOR_A_RATE,
        )
        for row in shown
    ]
    return ClassChart(
        rows=drawn,
        hidden=len(rows) - len(shown),
        ticks=ticks,
        zero=place(0.0),
        margin=place(-margin),
        margin_points=margin,
    )


def _overall(row: ClassComparison) -> Verdict:
    return min((row.status, row.relative_status), key=_RANK.__getitem__)


def _reach(rows: list[ClassComparison], margin: float) -> float:
    """Half the width of the plot in points: room for most; a class of few samples must not squash the others."""
    ends = sorted(max(abs(row.drop.ci95[0]), abs(row.drop.ci95[1])) for row in rows if row.n)
    typical = ends[int(0.8 * (len(ends) - 1))] if ends else 0.0
    largest = max((abs(row.drop.est) for row in rows if row.n >= _FEWEST_FOR_A_RATE), default=0.0)
    return min(100.0, 1.1 * max(typical, largest, 1.6 * margin))


def _step(reach: float) -> float:
    """A round distance that leaves two or three ticks a side: more would collide on a phone."""
    rough = reach / 2.5
    scale = 10.0 ** math.floor(math.log10(rough))
    return scale * next(round_ for round_ in (1, 2, 5, 10) if round_ * scale >= rough * 0.99)
