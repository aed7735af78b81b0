"""How far each layer may be pruned, and in steps of how many channels."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil, gcd, lcm

import numpy as np
import numpy.typing as npt

from service.contract.recipe import Prune
from worker.graph.structure import Layer, Structure

__all__ = ["Limits", "limits_of", "requested_keep"]


@dataclass(frozen=True)
class Limits:
    """`step[g]`: group g keeps all its channels or a multiple of this. `floor[s]`: entries that slot s keeps."""

    step: npt.NDArray[np.int64]
    floor: npt.NDArray[np.float64]


def limits_of(structure: Structure, prune: Prune, warn: Callable[[str, str], None]) -> Limits:
    """The rules of a recipe in terms of one structure. A pattern that matches no layer is reported through `warn`.

    A group that brings m entries to an axis is stepped so that the axis stays a multiple of `round_to`; axes that are
    smaller than that stay whole. `min_keep`, `layers` and `protect` bind output channels of layers.
    """
    _warn_of_idle_patterns(structure, prune, warn)
    owned = [
        index for index, slot in enumerate(structure.slots) if slot.parameter is not None and slot.axis is not None
    ]
    step = [
        lcm(
            *(
                prune.round_to // gcd(prune.round_to, int(entries))
                for entries in structure.model.per_group[owned, group]
                if entries
            )
        )
        for group in range(len(structure.groups))
    ]
    floor = np.array([min(len(slot.numbers), 1) for slot in structure.slots], dtype=np.float64)
    for slot in owned:
        floor[slot] = min(len(structure.slots[slot].numbers), prune.round_to)
    for layer in structure.layers:
        if layer.slot is not None:
            share = max(prune.min_keep, requested_keep(layer, prune) or 0.0)
            # The small subtraction keeps 0.1 · 30 from becoming 4.
            floor[layer.slot] = max(floor[layer.slot], ceil(share * layer.channels - 1e-9))
    return Limits(np.array(step, dtype=np.int64), floor)


def requested_keep(layer: Layer, prune: Prune) -> float | None:
    """Fraction of its output channels that a rule of the recipe asks the layer to keep; None without a rule."""
    if any(fnmatchcase(layer.name, pattern) for pattern in prune.protect):
        return 1.0
    asked = [rule.min_keep for pattern, rule in prune.layers.items() if fnmatchcase(layer.name, pattern)]
    return asked[-1] if asked else None


def _warn_of_idle_patterns(structure: Structure, prune: Prune, warn: Callable[[str, str], None]) -> None:
    for field, patterns in (("protect", prune.protect), ("layers", list(prune.layers))):
        for pattern in patterns:
            if not any(fnmatchcase(layer.name, pattern) for layer in structure.layers):
                known = ", ".join(layer.name for layer in structure.layers[:5])
                warn("pattern-matches-nothing", f"prune.{field}: {pattern!r} matches no layer; layers are {known}, …")
