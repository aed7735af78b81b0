"""How many entries each layer gives: the allocations of `prune.allocation`, for single weights.

Every function here answers one number of entries per pool, between the `lower` and `upper` of the pool, and their sum
is what is wanted. `settled` turns them into whole pieces.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.pruning.sparse.pool import Pool

__all__ = ["by_kernel", "by_kind", "by_threshold", "settled", "uniformly"]

Quotas = npt.NDArray[np.float64]

_HALVINGS = 200
_SLACK = 1e-6
_LARGEST_KEY = 0x7F800000  # infinity, among the bits of single precision


def by_threshold(pools: Sequence[Pool], comparable: Sequence[Tensor], wanted: float) -> Quotas:
    """One threshold for all: what scores lowest goes, wherever it is. `comparable[i]` are the scores of the pieces of
    pool i on a scale that holds for all layers, in the order of `pools[i].scores`.

    The threshold is found by halving the range of single-precision numbers, so that no more than the scores is held.
    Pieces that score the same are shared out in proportion to their number.
    """

    def reached(threshold: float, *, inclusive: bool) -> Quotas:
        compare = torch.le if inclusive else torch.lt
        counts = [int(compare(scores, threshold).count_nonzero()) for scores in comparable]
        pairs = zip(pools, counts, strict=True)
        return np.array([min(max(pool.entries_of(count), pool.lower), pool.upper) for pool, count in pairs], np.float64)

    low, high = -_LARGEST_KEY - 1, _LARGEST_KEY
    while low < high:
        middle = (low + high) // 2
        if reached(_number(middle), inclusive=True).sum() >= wanted:
            high = middle
        else:
            low = middle + 1
    below, equal = reached(_number(low), inclusive=False), reached(_number(low), inclusive=True)
    ties = equal - below
    return np.asarray(below + ties * max(wanted - below.sum(), 0.0) / max(ties.sum(), 1.0))


def uniformly(pools: Sequence[Pool], wanted: int) -> Quotas:
    """The same share everywhere; what a layer cannot give, the others do."""
    entries = np.array([pool.entries for pool in pools], np.float64)
    return _filled(entries, *_bounds(pools), wanted)


def by_kernel(pools: Sequence[Pool], shapes: Sequence[torch.Size], wanted: int) -> Quotas:
    """Erdős-Rényi kernel: density ∝ (n_in + n_out + k_h + k_w) ÷ (n_in · n_out · k_h · k_w), at most 1.

    Evci et al., Rigging the Lottery, ICML 2020, §3. A layer that would be denser than dense stays dense, and the
    factor of the others shrinks until the whole fits.
    """
    entries = np.array([pool.entries for pool in pools], np.float64)
    raw = np.array([sum(shape) / shape.numel() for shape in shapes])
    lower, upper = _bounds(pools)
    kept = _filled(raw * entries, entries - upper, entries - lower, entries.sum() - wanted)
    return np.asarray(entries - kept)


def by_kind(pools: Sequence[Pool], comparable: Sequence[Tensor], kinds: Sequence[str], wanted: int) -> Quotas:
    """The same share from every kind of layer, one threshold within each.

    Fang et al., Isomorphic Pruning for Vision Models, ECCV 2024, §3.2: scores are comparable among structures that
    are alike, and not across.
    """
    members = defaultdict[str, list[int]](list)
    for index, kind in enumerate(kinds):
        members[kind].append(index)
    lower, upper = _bounds(pools)
    entries = np.array([pool.entries for pool in pools], np.float64)

    def summed(values: Quotas) -> Quotas:
        return np.array([values[indices].sum() for indices in members.values()])

    shares = _filled(summed(entries), summed(lower), summed(upper), wanted)
    quotas = np.zeros(len(pools))
    for indices, share in zip(members.values(), shares, strict=True):
        quotas[indices] = by_threshold(
            [pools[index] for index in indices], [comparable[index] for index in indices], float(share)
        )
    return quotas


def settled(pools: Sequence[Pool], quotas: Quotas, wanted: int) -> list[int]:
    """Whole pieces for each pool: what fits into its quota, then one more where most is missing, until `wanted` entries
    are reached. The sum exceeds `wanted` by less than one piece."""
    counts = [
        pool.pieces_within(min(quota, pool.upper) + _SLACK) for pool, quota in zip(pools, quotas.tolist(), strict=True)
    ]
    counts = [max(count, int(pool.gone.count_nonzero())) for pool, count in zip(pools, counts, strict=True)]
    reached = [pool.entries_of(count) for pool, count in zip(pools, counts, strict=True)]
    while sum(reached) < wanted:
        open_ = [index for index, pool in enumerate(pools) if reached[index] < pool.upper]
        index = max(open_, key=lambda candidate: quotas[candidate] - reached[candidate])
        counts[index] += 1
        reached[index] = pools[index].entries_of(counts[index])
    return counts


def _bounds(pools: Sequence[Pool]) -> tuple[Quotas, Quotas]:
    return np.array([pool.lower for pool in pools], np.float64), np.array([pool.upper for pool in pools], np.float64)


def _filled(weights: Quotas, lower: Quotas, upper: Quotas, wanted: float) -> Quotas:
    """`clip(θ · weights, lower, upper)` with the θ for which the sum is `wanted`, or what comes nearest to it."""

    def at(factor: float) -> Quotas:
        return np.clip(factor * weights, lower, upper)

    return _crossed(at, float((upper / np.maximum(weights, np.finfo(np.float64).tiny)).max(initial=0.0)), wanted)


def _crossed(at: Callable[[float], Quotas], most: float, wanted: float) -> Quotas:
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle).sum() >= wanted else (middle, high)
    return at(high)


def _number(key: int) -> float:
    """The single-precision number at a place in the order of all: −∞ comes first, then the finite ones, then ∞."""
    bits = key if key >= 0 else -key - 1
    value = float(np.array(bits, np.uint32).view(np.float32))
    return value if key >= 0 else -value
