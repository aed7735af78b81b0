"""The weight of one layer, cut into the pieces of its granularity."""

from dataclasses import dataclass

import torch
from torch import Tensor

from service.contract.recipe import Prune
from worker.pruning.sparse.layers import SparseLayer, at_least
from worker.pruning.sparse.patterns import pattern_mask
from worker.pruning.sparse.pool import Pool
from worker.pruning.sparse.tiles import as_rows, from_rows, mask_of_tiles, tile_means, tile_sizes

__all__ = ["Part", "most_zeros", "part_of", "patterned"]


@dataclass(frozen=True)
class Part:
    """A layer that is cut into entries or tiles. `live` is the mask so far."""

    layer: SparseLayer
    pool: Pool
    live: Tensor
    block: tuple[int, int] | None

    def pieces(self, values: Tensor) -> Tensor:
        """(pieces,): the mean over each piece of values in the shape of the weight. In a tile what is gone counts 0."""
        return _pieces(self.layer, values, self.live, self.block)

    def mask(self, pieces: int) -> Tensor:
        """What stays once that many of the least important pieces are gone, in the shape of the weight."""
        gone = self.pool.lowest(pieces)
        if self.block is None:
            return self.live & ~gone.reshape(self.live.shape)
        axes = (self.layer.output_axis, self.layer.input_axis)
        rows = as_rows(self.live, *axes)
        tiles = gone.reshape(tile_sizes(rows, self.block).shape)
        return self.live & ~from_rows(mask_of_tiles(tiles, rows, self.block), self.live.shape, *axes)


def part_of(layer: SparseLayer, scores: Tensor, live: Tensor, prune: Prune) -> Part:
    """`scores` and `live` have the shape of the weight. The score of a tile is the mean of its entries."""
    most = most_zeros(layer, live.numel(), prune)
    if layer.granularity != "block":
        return Part(layer, Pool(_pieces(layer, scores, live, None), ~live.reshape(-1), None, most), live, None)
    block = (prune.block[0], prune.block[1])
    gone = _pieces(layer, live.float(), live, block) == 0
    sizes = tile_sizes(as_rows(live, layer.output_axis, layer.input_axis), block)
    return Part(layer, Pool(_pieces(layer, scores, live, block), gone, sizes.reshape(-1), most), live, block)


def _pieces(layer: SparseLayer, values: Tensor, live: Tensor, block: tuple[int, int] | None) -> Tensor:
    if block is None:
        return values.reshape(-1)
    values = values.masked_fill(~live, 0.0)
    return tile_means(as_rows(values, layer.output_axis, layer.input_axis), block).reshape(-1)


def most_zeros(layer: SparseLayer, entries: int, prune: Prune) -> int:
    """Entries of the layer that may be zero; one stays always. The guard gives way by less than a piece, so that what
    all layers may give together is no less than what is asked of them."""
    ruled = entries - at_least(layer.keep, entries)
    if layer.sparsity is not None:
        return min(ruled, entries - 1)
    piece = prune.block[0] * prune.block[1] if layer.granularity == "block" else 1
    guarded = at_least(1 - layer.guard, entries) + piece - 1
    return min(ruled, guarded, entries - 1)


def patterned(layer: SparseLayer, scores: Tensor, live: Tensor, prune: Prune, share: float) -> Tensor:
    """The mask of a layer with a pattern n:m, in the shape of the weight: that share of the m − n zeros of a window,
    rounded up."""
    kept, of = prune.n_m
    left = of - at_least(share, of - kept)
    axes = (layer.output_axis, layer.input_axis)
    rows = as_rows(scores.masked_fill(~live, -torch.inf), *axes)
    return live & from_rows(pattern_mask(rows, left, of), live.shape, *axes)
