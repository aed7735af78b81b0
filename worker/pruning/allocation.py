"""How far each layer may be pruned, and in steps of how many channels."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, gcd, lcm

import numpy as np
import numpy.typing as npt

from service.contract.recipe import Prune, Structured
from worker.graph.structure import Group, Layer, Selection, Structure

__all__ = ["Limits", "held_layers", "limits_of", "requested_keep"]

DEFAULT: tuple[Structured, ...] = ("channel", "head", "neuron")


@dataclass(frozen=True)
class Limits:
    """`step[g]`: group g keeps all its channels or a multiple of this. `floor[s]`: entries that slot s keeps.
    `may_shrink[g]`: whether the granularity allows units of group g to go."""

    step: npt.NDArray[np.int64]
    floor: npt.NDArray[np.float64]
    may_shrink: npt.NDArray[np.bool_]


def limits_of(structure: Structure, prune: Prune, warn: Callable[[str, str], None]) -> Limits:
    """The rules of a recipe in terms of one structure. A pattern that matches no layer is reported through `warn`.

    A group that brings m entries to an axis is stepped so that the axis stays a multiple of `round_to`; axes that are
    smaller than that stay whole. `min_keep`, `layers` and `protect` bind output channels of layers.
    """
    _warn_of_idle_patterns(structure, prune, warn)
    owned = [
        index for index, slot in enumerate(structure.slots) if slot.parameter is not None and slot.axis is not None
    ]
    step = [1] * len(structure.groups)
    for slot in owned:
        for group, entries in zip(*structure.model.groups_of(slot), strict=True):
            step[group] = lcm(step[group], prune.round_to // gcd(prune.round_to, int(entries)))
    floor = np.array([min(len(slot.numbers), 1) for slot in structure.slots], dtype=np.float64)
    for slot in owned:
        floor[slot] = min(len(structure.slots[slot].numbers), prune.round_to)
    for layer in structure.layers:
        if layer.slot is not None:
            share = max(prune.min_keep, requested_keep(layer, prune) or 0.0)
            # The small subtraction keeps 0.1 · 30 from becoming 4.
            floor[layer.slot] = max(floor[layer.slot], ceil(share * layer.channels - 1e-9))
    may_shrink = np.array([_may_shrink(structure, group, prune) for group in structure.groups], dtype=np.bool_)
    free = may_shrink[len(structure.groups) - len(structure.blocks) :]
    optional = {block.component for block, allowed in zip(structure.blocks, free, strict=True) if allowed}
    for index, entry in enumerate(structure.slots):
        if entry.parameter is None and len(entry.numbers) == 1 and int(entry.numbers[0]) in optional:
            floor[index] = 0.0
    return Limits(np.array(step, dtype=np.int64), floor, may_shrink)


def held_layers(structure: Structure, limits: Limits, selection: Selection) -> list[str]:
    """Layers that lost channels and could not lose another block, because of what they have to keep."""
    kept = structure.kept_channels(selection)
    counts = structure.model.counts(kept)
    held = []
    for layer in structure.layers:
        if layer.slot is None or counts[layer.slot] >= layer.channels:
            continue
        groups, entries = structure.model.groups_of(layer.slot)
        free = (entries > 0) & limits.may_shrink[groups] & (kept[groups] > 0)
        left = counts[layer.slot] - (entries * limits.step[groups])[free]
        if free.any() and (left < limits.floor[layer.slot]).all():
            held.append(layer.name)
    return held


def _may_shrink(structure: Structure, group: Group, prune: Prune) -> bool:
    """Whether the recipe allows units of the group to go: for every layer that makes them, by its own rule if it has
    one. A block with a protected layer stays."""
    everywhere = prune.structured if prune.granularity is not None else DEFAULT
    if group.role == "layer":
        inside = [layer for layer in structure.layers if layer.name in group.layers]
        if any(requested_keep(layer, prune) for layer in inside):
            return False
    allowed = [
        next(
            (
                rule.granularity
                for pattern, rule in reversed(prune.layers.items())
                if rule.granularity is not None and fnmatchcase(name, pattern)
            ),
            everywhere,
        )
        for name in group.layers
    ]
    return all(group.role in names for names in allowed or [everywhere])


def requested_keep(layer: Layer, prune: Prune) -> float | None:
    """Fraction of its output channels that a rule of the recipe asks the layer to keep; None without a rule."""
    if any(fnmatchcase(layer.name, pattern) for pattern in prune.protect):
        return 1.0
    rules = (rule.min_keep for pattern, rule in prune.layers.items() if fnmatchcase(layer.name, pattern))
    asked = [share for share in rules if share is not None]
    return asked[-1] if asked else None


def _warn_of_idle_patterns(structure: Structure, prune: Prune, warn: Callable[[str, str], None]) -> None:
    for field, patterns in (("protect", prune.protect), ("layers", list(prune.layers))):
        for pattern in patterns:
            if not any(fnmatchcase(layer.name, pattern) for layer in structure.layers):
                known = ", ".join(layer.name for layer in structure.layers[:5])
                warn("pattern-matches-nothing", f"prune.{field}: {pattern!r} matches no layer; layers are {known}, …")
