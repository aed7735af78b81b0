"""What a criterion is given, and how importances of entries become importances of components."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.data.batches import Samples, Task
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure

__all__ = ["Criterion", "Scene", "Scores", "gather", "present"]

Scores = npt.NDArray[np.float64]
"""(components + 1,): importance of every component, higher is kept longer. Entry 0 and removed ones mean nothing."""


@dataclass(frozen=True)
class Scene:
    """A network at some step of its pruning: `network` is what is left of `dense` under `selection`."""

    dense: Network
    network: Network
    structure: Structure
    selection: Selection
    samples: Samples | None
    task: Task
    norm: Literal["l1", "l2"]
    seed: int
    progress: Callable[[float], None] = lambda _fraction: None
    """Told from time to time which part of the scoring is done: a sign of life."""


class Criterion(Protocol):
    """What makes a channel important."""

    needs_data: ClassVar[bool]
    uses_labels: ClassVar[bool]
    per_cost: ClassVar[bool]
    """Whether scores are in units of the loss, so that a channel is judged by score ÷ cost; otherwise scores only rank
    and are compared as they are."""

    def score(self, scene: Scene) -> Scores: ...


def present(numbers: npt.NDArray[np.int64], selection: Selection) -> npt.NDArray[np.int64]:
    """Component of each entry that is left along an axis whose dense entries have components `numbers`."""
    return numbers[selection[numbers]]


def gather(scene: Scene, importances: Mapping[str, Tensor]) -> tuple[Scores, Scores]:
    """(sum, number) of the importances of entries per component, over every axis of a parameter that it touches.

    Each axis of each parameter is first divided by its mean, so that members of any width weigh the same: what is
    summed says how much more or less important than its neighbours a channel is.
    """
    structure, selection = scene.structure, scene.selection
    total = np.zeros(structure.component_count + 1)
    number = np.zeros(structure.component_count + 1)
    for name, importance in importances.items():
        for claimed in structure.claims.get(name, ()):
            axes = [axis for axis, size in enumerate(claimed.shape) if size > 1]
            if len(axes) != 1:
                continue
            numbers = present(claimed.reshape(-1), selection)
            others = [axis for axis in range(importance.dim()) if axis != axes[0]]
            entries = (importance.sum(others) if others else importance).double().cpu().numpy()
            np.add.at(total, numbers, entries / max(float(entries.mean()), np.finfo(np.float64).tiny))
            np.add.at(number, numbers, 1.0)
    return total, number
