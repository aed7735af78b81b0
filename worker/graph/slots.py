"""Where components touch parameters: the table that groups, costs and budgets are read from."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from worker.graph.components import Components
from worker.graph.cost import Slot
from worker.graph.propagation import Propagation
from worker.graph.values import Labels

__all__ = ["SlotTable", "build_slots"]


@dataclass(frozen=True)
class SlotTable:
    """Slots of parameters first, then pieces of values. `touches[c, s]` counts the entries of slot s that go with
    component c; row 0 counts what stays. `axes[s]` are the axes of the parameter that slot s covers."""

    slots: tuple[Slot, ...]
    axes: dict[int, frozenset[int]]
    touches: csr_array
    parameter_slots: int
    pieces: dict[bytes, int]
    """Slot of labels of a value, by their bytes."""

    def find(self, parameter: str, axis: int) -> int | None:
        """The slot of one axis of a parameter; None where nothing is claimed, as for an axis of size 1."""
        return self._by_axis.get((parameter, axis))

    def entries_of(self, component: int) -> dict[int, int]:
        """Number of entries that go with the component, by slot."""
        part = slice(self.touches.indptr[component], self.touches.indptr[component + 1])
        return dict(zip(self.touches.indices[part].tolist(), self.touches.data[part].tolist(), strict=True))

    @cached_property
    def _by_axis(self) -> dict[tuple[str, int], int]:
        return {
            (slot.parameter, slot.axis): index
            for index, slot in enumerate(self.slots)
            if slot.parameter is not None and slot.axis is not None
        }

    def interchangeable(self) -> list[npt.NDArray[np.int64]]:
        """Components that touch the same parameter slots in the same numbers, one array for each kind."""
        inside = self.touches.indices < self.parameter_slots
        starts = np.concatenate([[0], np.cumsum(inside)])[self.touches.indptr]
        slots, counts = self.touches.indices[inside], self.touches.data[inside]
        kinds: dict[bytes, list[npt.NDArray[np.int64]]] = {}
        for first, last in _runs(starts, slots, counts):
            part = slice(starts[first], starts[first + 1])
            if first > 0 and part.stop > part.start:
                key = slots[part].tobytes() + b"/" + counts[part].tobytes()
                kinds.setdefault(key, []).append(np.arange(first, last, dtype=np.int64))
        return [np.concatenate(members) for members in kinds.values()]


def _runs(
    starts: npt.NDArray[np.int64], slots: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of neighbouring rows that are alike; row 0 is one of its own. Row r holds the
    entries `starts[r]` to `starts[r + 1]`."""
    lengths = np.diff(starts)
    row = np.repeat(np.arange(len(lengths)), lengths)
    # Rows of one length lie that many entries apart.
    before = np.maximum(np.arange(len(slots)) - lengths[row], 0)
    differs = np.bincount(row, (slots != slots[before]) | (counts != counts[before]), minlength=len(lengths)) > 0
    differs[1:] |= lengths[1:] != lengths[:-1]
    differs[:2] = True
    edges = [*np.flatnonzero(differs).tolist(), len(lengths)]
    return pairwise(edges)


def build_slots(ledger: Propagation, claims: dict[str, tuple[Labels, ...]], components: Components) -> SlotTable:
    """`claims` hold component numbers. Costs of ledger terms on values get slots of their own."""
    slots: list[Slot] = []
    axes: dict[int, frozenset[int]] = {}
    for name, claimed in claims.items():
        for numbers in claimed:
            covered = [axis for axis, size in enumerate(numbers.shape) if size > 1]
            axes[len(slots)] = frozenset(covered)
            slots.append(Slot(name, covered[0] if len(covered) == 1 else None, numbers.reshape(-1)))
    parameter_slots = len(slots)
    values = ledger.pieces + [
        factor for term in ledger.costs for factor in term.factors if isinstance(factor, np.ndarray)
    ]
    pieces: dict[bytes, int] = {}
    for labels in values:
        if labels.tobytes() not in pieces:
            pieces[labels.tobytes()] = len(slots)
            slots.append(Slot(None, None, components.of[labels.reshape(-1)]))
    entries = np.concatenate([slot.numbers for slot in slots]) if slots else np.zeros(0, dtype=np.int64)
    columns = np.repeat(np.arange(len(slots)), [len(slot.numbers) for slot in slots])
    touches = coo_array(
        (np.ones(len(entries), dtype=np.int64), (entries, columns)), shape=(components.count + 1, len(slots))
    ).tocsr()
    touches.sum_duplicates()
    touches.sort_indices()
    return SlotTable(tuple(slots), axes, touches, parameter_slots, pieces)
