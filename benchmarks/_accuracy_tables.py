"""Rows of runs as markdown, and as a small plot."""

from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any

import numpy as np

__all__ = ["plot", "tables"]

Row = dict[str, Any]
Key = tuple[str, str]

_LABELS: dict[Key, str] = {
    ("dense", "plain"): "dense, plain fine-tuning",
    ("dense", "job"): "dense, Secateur's training (the twin)",
    ("tp-taylor", "plain"): "TP Taylor, global",
    ("tp-taylor-local", "plain"): "TP Taylor, local",
    ("tp-magnitude", "plain"): "TP magnitude, global",
    ("tp-magnitude-local", "plain"): "TP magnitude, local",
    ("tp-group-norm", "plain"): "TP group norm, global",
    ("tp-random", "plain"): "TP random",
    ("secateur-taylor", "plain"): "Secateur Taylor, round_to 8",
    ("secateur-taylor-r1", "plain"): "Secateur Taylor, round_to 1",
    ("secateur-magnitude", "plain"): "Secateur magnitude, round_to 8",
    ("secateur-random", "plain"): "Secateur random, round_to 8",
    ("secateur-default", "job"): "Secateur, all defaults",
    ("secateur-default-r1", "job"): "Secateur, all defaults, round_to 1",
    ("secateur-random", "job"): "Secateur random + Secateur's training",
    ("tp-taylor", "job"): "TP Taylor, global + Secateur's training",
    ("secateur-taylor", "job"): "Secateur without compensation",
    ("secateur-default", "plain"): "Secateur with compensation, plain fine-tuning",
}
_TABLES: tuple[tuple[str, tuple[Key, ...]], ...] = (
    (
        "(a) The choice alone: the same plain fine-tuning for all",
        tuple(key for key in _LABELS if key[1] == "plain" and key != ("secateur-default", "plain")),
    ),
    (
        "(b) Each tool as it is meant to be used",
        (
            ("dense", "plain"), ("tp-taylor", "plain"), ("tp-taylor-local", "plain"), ("tp-magnitude", "plain"),
            ("tp-magnitude-local", "plain"), ("tp-group-norm", "plain"), ("tp-random", "plain"), ("dense", "job"),
            ("secateur-default", "job"), ("secateur-default-r1", "job"), ("secateur-random", "job"),
        ),
    ),
    (
        "(c) What comes from where",
        (
            ("tp-taylor", "plain"), ("tp-taylor", "job"), ("secateur-taylor", "plain"), ("secateur-default", "plain"),
            ("secateur-taylor", "job"), ("secateur-default", "job"), ("secateur-random", "plain"),
            ("secateur-random", "job"),
        ),
    ),
)  # fmt: skip


def tables(rows: list[Row], class_names: Iterable[str]) -> str:
    """Mean and standard deviation over the seeds; the worst class is that whose mean recall falls most below that of
    the dense network of the same seeds after the same training."""
    names, lines = tuple(class_names), list[str]()
    for title, keys in _TABLES:
        lines += [f"\n**{title}**\n", "| | MACs ÷ | params left | accuracy % | seeds | worst class, drop in points |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        for target in sorted({row["target"] for row in rows}):
            for key in keys:
                if key[0] == "dense" and target != min(row["target"] for row in rows):
                    continue
                found = _of(rows, key, target)
                if found:
                    lines.append(_line(_LABELS[key], found, _of(rows, ("dense", key[1]), None), names))
    return "\n".join(lines)


def _of(rows: list[Row], key: Key, target: float | None) -> list[Row]:
    return [row for row in rows if (row["method"], row["training"]) == key and target in (None, row["target"])]


def _line(label: str, found: list[Row], dense: list[Row], names: tuple[str, ...]) -> str:
    accuracies = [row["accuracy"] for row in found]
    spread = f" ± {stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    macs, params = mean(row["macs"] for row in found), mean(row["params"] for row in found)
    worst = "–" if found[0]["method"] == "dense" else _worst(found, dense, names)
    return (
        f"| {label} | {1 / macs:.2f} | {100 * params:.0f} % | {mean(accuracies):.2f}{spread} | {len(found)} | {worst} |"
    )


def drops(found: list[Row], dense: list[Row]) -> np.ndarray | None:
    """(classes,): mean over the seeds that both have of the recall lost, points."""
    whole = {row["seed"]: row["recalls"] for row in dense}
    pairs = [np.subtract(whole[row["seed"]], row["recalls"]) for row in found if row["seed"] in whole]
    return np.mean(pairs, axis=0) if pairs else None


def _worst(found: list[Row], dense: list[Row], names: tuple[str, ...]) -> str:
    lost = drops(found, dense)
    return "–" if lost is None else f"{lost.max():.1f} ({names[int(lost.argmax())]})"


def plot(rows: list[Row]) -> str:
    """An SVG: one line per method and target, a dot per seed, a bar at the mean."""
    shown = [key for key in _LABELS if key[0] != "dense" and _of(rows, key, None)]
    targets = sorted({row["target"] for row in rows})
    lowest = 5 * int(min(row["accuracy"] for row in rows) // 5)
    highest = 5 * (int(max(row["accuracy"] for row in rows) // 5) + 1)
    left, width, step = 300, 420, 20
    height = 40 + len(targets) * (len(shown) * step + 34)

    def x(value: float) -> float:
        return left + width * (value - lowest) / (highest - lowest)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for tick in range(lowest, highest + 1, 5):
        parts.append(f'<path d="M{x(tick):.1f} 10V{height - 24}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{height - 8}" text-anchor="middle" fill="#555">{tick} %</text>')
    y = 10.0
    for target in targets:
        y += 24
        parts.append(f'<text x="8" y="{y - 4:.0f}" font-weight="bold">{target:g}x fewer MACs</text>')
        ranked = sorted(
            ((key, _of(rows, key, target)) for key in shown),
            key=lambda pair: -mean(row["accuracy"] for row in pair[1]) if pair[1] else 0.0,
        )
        for key, found in ranked:
            y += step
            colour = "#0b6e4f" if key[0].startswith("secateur") else "#b5541c"
            parts.append(f'<text x="{left - 10}" y="{y:.0f}" text-anchor="end">{_LABELS[key]}</text>')
            for row in found:
                at = x(row["accuracy"])
                parts.append(f'<circle cx="{at:.1f}" cy="{y - 4:.0f}" r="3.5" fill="{colour}" fill-opacity=".45"/>')
            if found:
                middle = x(mean(row["accuracy"] for row in found))
                parts.append(f'<path d="M{middle:.1f} {y - 11:.0f}v14" stroke="{colour}" stroke-width="2.5"/>')
        y += 10
    return "\n".join([*parts, "</svg>"]) + "\n"
