"""From ties to components: sets of entries that can only go together, and that leave rectangles behind."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from worker.graph.propagation import Propagation
from worker.graph.values import Flow, Labels, Value

__all__ = ["Components", "find_components"]

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """`of[label]` is the component of a label: 0 for what stays, 1 to `count` for what can be removed."""

    of: Numbers
    count: int
    _ties: tuple[list[Labels], list[Labels]] = field(repr=False)

    @cached_property
    def loose(self) -> Numbers:
        """The component of each label when nothing is pinned: it tells what a pin has taken away."""
        pairs = [
            (first[free], second[free])
            for first, second in zip(*self._ties, strict=True)
            if (free := (first != 0) & (second != 0)).any()
        ]
        return _connect(len(self.of), [first for first, _ in pairs], [second for _, second in pairs])


def find_components(flows: dict[str, Flow], ledger: Propagation) -> Components:
    """Connected components of the ties, merged until every value stays a rectangle whatever is removed.

    A value with two tracked axes (heads × width) is a rectangle after any removal if each of its entries lies in a
    row or a column (a hyper-slice) that is one component. Where that fails, rows along the longest axis are tied. This
    one rule yields channel shuffle, packed projections and whole heads.
    """
    firsts = [first for first, _ in ledger.ties]
    seconds = [second for _, second in ledger.ties]
    arrays = _several_axes(flows, ledger)
    while True:
        of = _connect(ledger.labels + 1, firsts, seconds)
        ties = [tie for labels in arrays for tie in _broken_rectangle(labels, of)]
        if not ties:
            break
        firsts += [first for first, _ in ties]
        seconds += [second for _, second in ties]
    numbers, count = _number(of)
    return Components(numbers, count, (firsts, seconds))


def _several_axes(flows: dict[str, Flow], ledger: Propagation) -> list[Labels]:
    seen: dict[tuple[tuple[int, ...], bytes], Labels] = {}
    candidates = [leaf.labels for flow in flows.values() for leaf in _values(flow)]
    candidates += [labels for claimed in ledger.claims.values() for labels in claimed]
    for labels in candidates:
        compact = labels.squeeze()
        if compact.ndim > 1:
            seen.setdefault((compact.shape, compact.tobytes()), compact)
    return list(seen.values())


def _values(flow: Flow) -> list[Value]:
    if isinstance(flow, tuple):
        return [value for item in flow for value in _values(item)]
    return [flow] if isinstance(flow, Value) else []


def _connect(size: int, firsts: list[Labels], seconds: list[Labels]) -> Numbers:
    rows = np.concatenate(firsts) if firsts else np.zeros(0, dtype=np.int64)
    columns = np.concatenate(seconds) if seconds else np.zeros(0, dtype=np.int64)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    _, of = connected_components(graph, directed=False)
    return np.asarray(of, dtype=np.int64)


def _broken_rectangle(labels: Labels, of: Numbers) -> list[tuple[Labels, Labels]]:
    """Ties that mend a value, or none when it is sound. Entries that stay anyway need no mending."""
    numbers = of[labels]
    sound = numbers == of[0]
    for axis in range(numbers.ndim):
        others = tuple(other for other in range(numbers.ndim) if other != axis)
        first = numbers[tuple(slice(None) if other == axis else slice(0, 1) for other in range(numbers.ndim))]
        sound = sound | (numbers == first).all(axis=others, keepdims=True)
    if sound.all():
        return []
    longest = int(np.argmax(numbers.shape))
    rows = np.moveaxis(labels, longest, 0).reshape(numbers.shape[longest], -1)
    broken = ~np.moveaxis(sound, longest, 0).reshape(numbers.shape[longest], -1).all(axis=1)
    return [(rows[broken, 1:].reshape(-1), np.repeat(rows[broken, 0], rows.shape[1] - 1))]


def _number(of: Numbers) -> tuple[Numbers, int]:
    """Components in the order in which they first appear, the pinned one first."""
    _, first, inverse = np.unique(of, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    # Label 0 comes first, so its component is number 0.
    return order[inverse].astype(np.int64), len(first) - 1
