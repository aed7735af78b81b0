"""A weight as rows of inputs, and the tiles that become zero together."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["as_rows", "from_rows", "mask_of_tiles", "tile_means", "tile_sizes"]


def as_rows(weight: Tensor, output_axis: int, input_axis: int) -> Tensor:
    """(positions, outputs, inputs): one matrix for each position of the kernel, one for a linear layer.

    For a convolution (outputs, inputs, height, width) neighbours along the last axis are input channels at the same
    position of the kernel, which is what hardware for 2:4 and blocked sparse kernels take together.
    """
    return weight.movedim((output_axis, input_axis), (-2, -1)).reshape(
        -1, weight.shape[output_axis], weight.shape[input_axis]
    )


def from_rows(rows: Tensor, shape: torch.Size, output_axis: int, input_axis: int) -> Tensor:
    """The inverse: a contiguous tensor of `shape`."""
    kernel = [size for axis, size in enumerate(shape) if axis not in (output_axis, input_axis)]
    stacked = rows.reshape(*kernel, shape[output_axis], shape[input_axis])
    return stacked.movedim((-2, -1), (output_axis, input_axis)).contiguous()


def tile_sizes(rows: Tensor, block: tuple[int, int]) -> Tensor:
    """(positions, tiles down, tiles across): entries of each tile; those at the edges may be smaller."""
    down, across = (_edge_lengths(size, tile) for size, tile in zip(rows.shape[1:], block, strict=True))
    return (down[:, None] * across[None, :]).expand(rows.shape[0], -1, -1)


def tile_means(rows: Tensor, block: tuple[int, int]) -> Tensor:
    """Mean of each tile, in the shape of `tile_sizes`: what one entry of it is worth."""
    (height, width), (positions, outputs, inputs) = block, rows.shape
    padded = functional.pad(rows, (0, -inputs % width, 0, -outputs % height))
    sums = padded.reshape(positions, -(-outputs // height), height, -(-inputs // width), width).sum((2, 4))
    return torch.div(sums, tile_sizes(rows, block))


def mask_of_tiles(tiles: Tensor, rows: Tensor, block: tuple[int, int]) -> Tensor:
    """Every entry of `rows` gets the value of its tile."""
    wide = tiles.repeat_interleave(block[0], 1).repeat_interleave(block[1], 2)
    return wide[:, : rows.shape[1], : rows.shape[2]]


def _edge_lengths(size: int, tile: int) -> Tensor:
    return torch.tensor([min(tile, size - start) for start in range(0, size, tile)])
