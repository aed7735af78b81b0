"""Sparsity n:m: of every m neighbouring weights, n may differ from zero."""

import torch
from torch import Tensor

__all__ = ["kept_by_pattern", "pattern_mask"]


def kept_by_pattern(inputs: int, kept: int, of: int) -> int:
    """Entries that a row of `inputs` ≥ m keeps: ⌊inputs · n ÷ m⌋, so that a row is never denser than the pattern."""
    return inputs * kept // of


def pattern_mask(scores: Tensor, kept: int, of: int) -> Tensor:
    """Which entries stay: the n largest scores in each window of m along the last axis, as booleans.

    Windows start at multiples of m (Mishra et al., Accelerating Sparse Deep Neural Networks, 2021, §3.1). Where the
    inputs are not a multiple of m, the last window is short: it keeps at most n as well, and together with the window
    before it no more than their share of n ÷ m. Equal scores: the first stays. Needs at least m entries along the axis.
    """
    inputs = scores.shape[-1]
    whole, rest = inputs - inputs % of, inputs % of
    windows = scores[..., :whole].reshape(*scores.shape[:-1], -1, of)
    mask = _largest(windows, kept).flatten(-2)
    if not rest:
        return mask
    tail = scores[..., whole - of :]
    allowed = torch.cat([mask[..., -of:], _largest(scores[..., whole:], kept)], -1)
    chosen = _largest(tail.masked_fill(~allowed, -torch.inf), kept_by_pattern(of + rest, kept, of))
    return torch.cat([mask[..., : whole - of], chosen & allowed], -1)


def _largest(scores: Tensor, count: int) -> Tensor:
    """Booleans of the `count` largest along the last axis; all of them where there are fewer."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return mask.scatter_(-1, order[..., :count], True)
