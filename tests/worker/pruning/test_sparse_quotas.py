"""How much each layer gives, against the formulas written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from worker.pruning.sparse.pool import Pool
from worker.pruning.sparse.quotas import by_kernel, by_kind, by_threshold, settled, uniformly
from worker.pruning.sparse.sensitivity import cheapest


def pool(scores: Tensor, most: float = 1.0, gone: Tensor | None = None, sizes: Tensor | None = None) -> Pool:
    gone = torch.zeros(scores.shape, dtype=torch.bool) if gone is None else gone
    entries = scores.numel() if sizes is None else int(sizes.sum())
    return Pool(scores, gone, sizes, int(most * entries))


def random_pools(*sizes: int) -> list[Pool]:
    generator = torch.Generator().manual_seed(3)
    return [pool(torch.randn(size, generator=generator)) for size in sizes]


@pytest.mark.parametrize("wanted", [0, 1, 57, 200, 331, 332])
def test_a_threshold_takes_what_a_sort_of_everything_takes(wanted: int) -> None:
    pools = random_pools(32, 100, 200)
    quotas = by_threshold(pools, [found.scores for found in pools], wanted)
    counts = settled(pools, quotas, wanted)
    together = torch.cat([found.scores for found in pools])
    owner = torch.cat([torch.full((found.entries,), index) for index, found in enumerate(pools)])
    lowest = owner[together.argsort()[:wanted]]
    assert counts == [int((lowest == index).sum()) for index in range(3)]


def test_a_bound_moves_the_rest_to_other_layers() -> None:
    pools = [pool(torch.arange(10.0), most=0.3), pool(torch.arange(100.0, 110.0))]
    quotas = by_threshold(pools, [found.scores for found in pools], 8)
    assert settled(pools, quotas, 8) == [3, 5]


def test_erk_densities_are_those_of_the_formula() -> None:
    """RigL: density ε · (n_in + n_out + k_h + k_w) ÷ (n_in · n_out · k_h · k_w), 1 where that is more."""
    shapes = [torch.Size(shape) for shape in ((16, 3, 3, 3), (64, 16, 3, 3), (64, 64, 3, 3), (10, 64))]
    pools = random_pools(*(shape.numel() for shape in shapes))
    total, wanted = sum(found.entries for found in pools), 38_000
    quotas = by_kernel(pools, shapes, wanted)
    assert quotas.sum() == pytest.approx(wanted)
    densities = [1 - quota / found.entries for quota, found in zip(quotas, pools, strict=True)]

    # By hand: the first and the last layer are dense; the two others share what is left.
    raw = [(16 + 3 + 3 + 3) / 432, (64 + 16 + 3 + 3) / 9216, (64 + 64 + 3 + 3) / 36864, (10 + 64) / 640]
    epsilon = (total - wanted - 432 - 640) / (raw[1] * 9216 + raw[2] * 36864)
    assert epsilon * raw[0] > 1
    assert epsilon * raw[3] > 1
    assert densities == pytest.approx([1, epsilon * raw[1], epsilon * raw[2], 1], abs=1e-6)


def test_uniform_gives_the_same_share_and_goes_around_what_is_bounded() -> None:
    pools = random_pools(100, 300)
    assert uniformly(pools, 200).tolist() == pytest.approx([50, 150])
    bounded = [pool(torch.arange(100.0), most=0.2), pool(torch.arange(300.0))]
    assert uniformly(bounded, 200).tolist() == pytest.approx([20, 180])
    gone = torch.zeros(100, dtype=torch.bool)
    gone[:80] = True
    started = [pool(torch.arange(100.0), gone=gone), pool(torch.arange(300.0))]
    assert uniformly(started, 200).tolist() == pytest.approx([80, 120])


def test_kinds_give_the_same_share_and_compare_within() -> None:
    small, large, other = torch.arange(10.0), 100 + torch.arange(10.0), torch.arange(40.0)
    pools = [pool(small), pool(large), pool(other)]
    quotas = by_kind(pools, [found.scores for found in pools], ["conv", "conv", "linear"], 30)
    assert quotas.tolist() == pytest.approx([10, 0, 20])


def test_the_cheapest_zeros_are_taken_first() -> None:
    flat, steep = [(0.0, 0.0), (50.0, 1.0), (100.0, 10.0)], [(0.0, 0.0), (50.0, 2.0), (100.0, 4.0)]
    assert cheapest([flat, steep], 50).tolist() == [50, 0]
    assert cheapest([flat, steep], 120).tolist() == [50, 70]
    assert cheapest([flat, steep], 180).tolist() == [80, 100]
    # A dip: what a hundred zeros cost counts, not the bump on the way.
    assert cheapest([[(0.0, 0.0), (50.0, 5.0), (100.0, 1.0)], steep], 100).tolist() == [100, 0]


def test_tiles_are_counted_by_their_entries() -> None:
    sizes = torch.tensor([8, 8, 1, 8, 3])
    tiles = pool(torch.tensor([5.0, 1.0, 2.0, 4.0, 3.0]), sizes=sizes)
    assert [tiles.entries_of(count) for count in range(6)] == [0, 8, 9, 12, 20, 28]
    assert [tiles.pieces_within(entries) for entries in (0, 7, 8, 9, 11, 12, 28, 99)] == [0, 0, 1, 2, 2, 3, 5, 5]
    assert settled([tiles], np.array([10.0]), 10) == [3]


def test_what_is_gone_goes_first() -> None:
    gone = torch.tensor([False, True, False, True])
    found = pool(torch.tensor([1.0, 9.0, 2.0, 8.0]), gone=gone)
    assert found.lower == 2
    assert found.lowest(2).tolist() == gone.tolist()
    assert found.lowest(3).tolist() == [True, True, False, True]
