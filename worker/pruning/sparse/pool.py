"""The pieces of one layer that may go, in the order in which they go."""

from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Pool"]


class Pool:
    """`scores` (pieces,) says how important each piece is, `gone` (pieces,) which ones are zero already: they go first.

    `sizes` (pieces,) counts the entries of each piece, None where every piece is one entry. Counts of entries are
    exact; `lower` are gone already, and no more than `upper` may go.
    """

    def __init__(self, scores: Tensor, gone: Tensor, sizes: Tensor | None, most: int) -> None:
        """`most` bounds the entries that may go; `upper` is what whole pieces make of it."""
        self.gone = gone
        self.sizes = sizes
        self.scores = scores.masked_fill(gone, -torch.inf) if gone.any() else scores
        self.entries = scores.numel() if sizes is None else int(sizes.sum())
        self.lower = self.entries_of(int(gone.count_nonzero()))
        self.upper = max(self.entries_of(self.pieces_within(most)), self.lower)

    def entries_of(self, pieces: int) -> int:
        """Entries in that many of the least important pieces."""
        return pieces if self.sizes is None else int(self._reached[pieces])

    def pieces_within(self, entries: float) -> int:
        """The most pieces, from the least important on, that have at most so many entries."""
        if self.sizes is None:
            return min(int(entries), self.entries)
        return int(torch.searchsorted(self._reached, torch.tensor(int(entries)), right=True)) - 1

    def lowest(self, pieces: int) -> Tensor:
        """(pieces,): booleans of the least important ones. Among equal scores the choice is spread over the layer."""
        chosen = torch.zeros(self.scores.shape, dtype=torch.bool)
        if pieces == 0:
            return chosen
        if self.sizes is not None:
            chosen[self._order[:pieces]] = True
            return chosen
        last = self.scores.kthvalue(pieces).values
        torch.lt(self.scores, last, out=chosen)
        equal = (self.scores == last).nonzero().squeeze(1)
        wanted = pieces - int(chosen.count_nonzero())
        chosen[equal[torch.arange(wanted) * len(equal) // wanted]] = True
        return chosen

    @cached_property
    def _order(self) -> Tensor:
        return self.scores.argsort(stable=True)

    @cached_property
    def _reached(self) -> Tensor:
        """(pieces + 1,): entries in the least important 0, 1, 2, … pieces."""
        assert self.sizes is not None
        return torch.cat([torch.zeros(1, dtype=torch.int64), self.sizes[self._order].cumsum(0)])
