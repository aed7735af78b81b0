"""What a criterion is given, and what it answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from service.contract.recipe import Prune
from worker.data.batches import Samples, Task
from worker.errors import JobFailed
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure

__all__ = ["Criterion", "Each", "Scene", "Scores", "present", "samples_of", "weights_of_layers"]

Scores = npt.NDArray[np.float64]
"""(components + 1,): importance of every component, higher is kept longer. Entry 0 and removed ones mean nothing."""


@dataclass(frozen=True)
class Scene:
    """A network at some step of its pruning: `network` is what is left of `dense` under `selection`.

    `masks` say which of its weights are zero already; `movement` is what training since the last step accumulated.
    """

    dense: Network
    network: Network
    structure: Structure
    selection: Selection
    samples: Samples | None
    task: Task
    prune: Prune
    seed: int
    progress: Callable[[float], None] = lambda _fraction: None
    """Told from time to time which part of the scoring is done: a sign of life."""
    masks: Mapping[str, Tensor] | None = None
    movement: Mapping[str, Tensor] | None = None


class Criterion(Protocol):
    """What makes a unit or a weight important.

    Both methods raise JobFailed when the scene lacks what they need, or when they are not defined for what is asked.
    """

    per_cost: ClassVar[bool]
    """Whether scores are in units of the loss, so that a unit is judged by score ÷ cost; otherwise scores only rank
    and are compared as they are."""

    def score(self, scene: Scene, /) -> Scores:
        """Importance of whole units: channels, heads, neurons, blocks."""

    def entries(self, scene: Scene, /) -> Mapping[str, Tensor]:
        """Importance of every entry of the weight of every layer that is left, by the name of the weight."""


class Each(Mapping[str, Tensor]):
    """A function of every weight, worked out when it is asked for: all of them together would be a network more."""

    def __init__(self, weights: Mapping[str, Tensor], function: Callable[[Tensor], Tensor]) -> None:
        self._weights, self._function = weights, function

    def __getitem__(self, name: str) -> Tensor:
        return self._function(self._weights[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def present(numbers: npt.NDArray[np.int64], selection: Selection) -> npt.NDArray[np.int64]:
    """Component of each entry that is left along an axis whose dense entries have components `numbers`."""
    return numbers[selection[numbers]]


def weights_of_layers(scene: Scene) -> dict[str, Tensor]:
    """The weights of all layers that are left, by name, detached."""
    names = {layer.weight for layer in scene.structure.layers}
    return {name: parameter.detach() for name, parameter in scene.network.parameters() if name in names}


def samples_of(scene: Scene, criterion: str) -> Samples:
    """The samples of the scene. Raises JobFailed where there are none."""
    if scene.samples is None:
        raise JobFailed(f"the criterion {criterion} needs a dataset; give one, or use magnitude")
    return scene.samples
