"""A round of training among several."""

from dataclasses import dataclass

__all__ = ["Lap"]


@dataclass(frozen=True)
class Lap:
    """One round. Its learning rates are those of epochs `offset` to `offset + epochs` of a schedule of `span` epochs:
    a part of one schedule, or a whole one where it starts anew in each round.

    `first_epoch` counts the epochs trained before it, for the records.
    """

    index: int
    count: int
    epochs: int
    offset: int
    span: int
    first_epoch: int

    @property
    def last(self) -> bool:
        return self.index == self.count - 1

    @property
    def name(self) -> str:
        """What tells its checkpoint from those of other rounds."""
        return "" if self.last else f"-{self.index + 1}"
