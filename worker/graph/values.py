"""What flows through the graph when it is run on labels instead of numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Flow", "Labels", "Origins", "Value", "Weight", "count_kept", "kept_along"]

Labels = npt.NDArray[np.int64]

Origins = frozenset[tuple[str, int]]
"""Axes of results of nodes, by the name of the node: where a size was made up."""


@dataclass(frozen=True)
class Value:
    """The labels of a tensor of `shape`: what is equal goes together, 0 stays.

    `labels` has one axis per axis of the tensor, of the full size where labels differ along it (the axis is
    *tracked*) and of size 1 where they do not.

    Along an *elastic* axis of a value without labels all entries are equal and the size is an argument of some nodes
    (`zeros`, `expand`), the origins: such an axis takes the size of what it meets.
    """

    shape: tuple[int, ...]
    labels: Labels
    elastic: Mapping[int, Origins] = field(default_factory=dict)

    @classmethod
    def plain(cls, shape: tuple[int, ...]) -> "Value":
        """A value of which nothing can be removed."""
        return cls(tuple(shape), np.zeros((1,) * len(shape), dtype=np.int64))

    @classmethod
    def of(cls, shape: tuple[int, ...], labels: Labels) -> "Value":
        """Labels in canonical form: axes along which nothing differs are collapsed."""
        for axis, size in enumerate(labels.shape):
            # Ends that differ tell most of them without a look at the rest.
            if size > 1 and (labels.size > size or labels.item(0) == labels.item(-1)):
                first = labels.take([0], axis)
                if (labels == first).all():
                    labels = first
        return cls(tuple(shape), labels)

    @classmethod
    def along(cls, shape: tuple[int, ...], axis: int, labels: Labels) -> "Value":
        """A value tracked along one axis."""
        view = [1] * len(shape)
        view[axis] = len(labels)
        return cls.of(shape, labels.reshape(view))

    @property
    def tracked(self) -> list[int]:
        return [axis for axis, size in enumerate(self.labels.shape) if size > 1]

    @property
    def is_plain(self) -> bool:
        return self.labels.size == 1 and not self.labels.any()


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer that no activation has met yet. Axis i of the value is axis `axes[i]` of the tensor called
    `name`, or an axis that an op inserted (None)."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int | None, ...]

    def viewed(self, shape: tuple[int, ...], axes: Iterable[int | None]) -> "Weight":
        """The same parameter in another form. An axis of it that is in none of `axes` is one that nothing can remove
        entries of."""
        return replace(self, shape=tuple(shape), axes=tuple(axes))


Flow = Value | Weight | tuple[Any, ...] | None
"""What a node makes: labels, a parameter, a tuple of these, or nothing that could shrink (a number)."""


def kept_along(labels: Labels, axis: int, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Positions along `axis` of which at least one entry is kept; `keep[label]` says which labels are."""
    others = tuple(other for other in range(labels.ndim) if other != axis)
    return np.flatnonzero(keep[labels].any(axis=others))


def count_kept(value: Value, axis: int, keep: npt.NDArray[np.bool_]) -> int:
    """Size of `axis` once only the kept labels are left."""
    if value.labels.shape[axis] == 1:
        return value.shape[axis]
    return len(kept_along(value.labels, axis, keep))
