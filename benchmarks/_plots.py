"""Small plots as SVG: bars, and medians with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, log10

__all__ = ["Bar", "Interval", "bars", "intervals"]

_COLOURS = ("#0b6e4f", "#b5541c", "#5b6abf", "#888888")
_LEFT, _WIDTH, _STEP, _TALL, _TOP, _BOTTOM = 190, 470, 20, 30, 34, 44


@dataclass(frozen=True)
class Bar:
    """`beyond`: the true value is larger."""

    label: str
    kind: str
    value: float
    beyond: bool = False


@dataclass(frozen=True)
class Interval:
    label: str
    kind: str
    middle: float
    low: float
    high: float


class _Scale:
    """Numbers to pixels, from the first tick to the last one."""

    def __init__(self, ticks: Sequence[float], *, log: bool) -> None:
        self.ticks, self._log = ticks, log

    def __call__(self, value: float) -> float:
        first, last = self._of(self.ticks[0]), self._of(self.ticks[-1])
        return _LEFT + _WIDTH * (self._of(max(value, self.ticks[0])) - first) / (last - first)

    def _of(self, value: float) -> float:
        return log10(value) if self._log else value


def bars(rows: Sequence[Bar], title: str, *, mark: float, log: bool = False) -> str:
    """One bar for each row, coloured by kind, with a line at `mark`. `>` before a value says that it is larger."""
    scale = _scale([row.value for row in rows] + [mark], log=log)
    parts = []
    for position, row in enumerate(rows):
        y, end = _TOP + position * _STEP, scale(row.value)
        start = scale(1.0) if log else scale(0.0)
        colour = _colour(row.kind, [other.kind for other in rows])
        text = f"&gt; {row.value:.0f}" if row.beyond else f"{row.value:.2f}" if row.value < 10 else f"{row.value:.0f}"
        parts += [
            _name(row.label, y),
            f'<rect x="{min(start, end):.1f}" y="{y + 3}" width="{max(abs(end - start), 1):.1f}" height="13" '
            f'fill="{colour}"/>',
            f'<text x="{max(end, start) + 6:.1f}" y="{y + 14}">{text}</text>',
        ]
    return _figure(parts, len(rows) * _STEP, scale, title, mark, [row.kind for row in rows])


def intervals(rows: Sequence[Interval], title: str, *, mark: float) -> str:
    """A dot and its interval for each row; rows of one label share a line. A line at `mark`."""
    scale = _scale([row.high for row in rows] + [mark], log=False)
    kinds, labels = [row.kind for row in rows], list(dict.fromkeys(row.label for row in rows))
    parts = [_name(label, _TOP + position * _TALL + (_TALL - _STEP) / 2) for position, label in enumerate(labels)]
    for row in rows:
        order = list(dict.fromkeys(kinds))
        shift = 5 * (order.index(row.kind) - (len(order) - 1) / 2)
        y, colour = _TOP + labels.index(row.label) * _TALL + _TALL / 2 + shift, _colour(row.kind, kinds)
        parts += [
            f'<path d="M{scale(row.low):.1f} {y}H{scale(row.high):.1f}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{scale(row.middle):.1f}" cy="{y}" r="3.2" fill="{colour}"/>',
        ]
    return _figure(parts, len(labels) * _TALL, scale, title, mark, kinds)


def _scale(values: list[float], *, log: bool) -> _Scale:
    if log:
        steps = [1 / 3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]
        low = max((step for step in steps if step <= min(values)), default=steps[0])
        high = min((step for step in steps if step >= 1.3 * max(values)), default=steps[-1])
        return _Scale([step for step in steps if low <= step <= high], log=True)
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if max(values) / step <= 8)
    return _Scale([step * tick for tick in range(ceil(max(values) / step) + 1)], log=False)


def _colour(kind: str, kinds: Sequence[str]) -> str:
    return _COLOURS[list(dict.fromkeys(kinds)).index(kind) % len(_COLOURS)]


def _name(label: str, y: float) -> str:
    return f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(label)}</text>'


def _figure(parts: list[str], height: int, scale: _Scale, title: str, mark: float, kinds: Sequence[str]) -> str:
    bottom = _TOP + height + 4
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 60} {bottom + _BOTTOM}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    x = 10.0
    for kind in dict.fromkeys(kinds):
        lines += [
            f'<rect x="{x}" y="10" width="11" height="11" fill="{_colour(kind, kinds)}"/>',
            f'<text x="{x + 16}" y="20">{escape(kind)}</text>',
        ]
        x += 34 + 7 * len(kind)
    for tick in scale.ticks:
        lines += [
            f'<path d="M{scale(tick):.1f} {_TOP}V{bottom}" stroke="#e3e3e3"/>',
            f'<text x="{scale(tick):.1f}" y="{bottom + 15}" text-anchor="middle" fill="#555">{tick:.3g}</text>',
        ]
    parts.append(f'<path d="M{scale(mark):.1f} {_TOP}V{bottom}" stroke="#222" stroke-dasharray="4 3"/>')
    parts.append(
        f'<text x="{_LEFT + _WIDTH / 2}" y="{bottom + 34}" text-anchor="middle" fill="#333">{escape(title)}</text>'
    )
    return "\n".join([*lines, *parts, "</svg>"]) + "\n"
