"""A scene with everything at its start, and a criterion that says what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from service.contract.recipe import Prune
from tests.worker.networks import traced
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.pruning.scoring import Scene, Scores

__all__ = ["Given", "Mixed", "mixed", "scene_of", "weights_by_name"]


class Mixed(nn.Module):
    """Inputs that fit no pattern (3, 6, 18), a depthwise, a transposed and a grouped convolution, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide = nn.Conv2d(8, 6, 1)
        self.up = nn.ConvTranspose2d(6, 12, 2, stride=2)
        self.grouped = nn.Conv2d(12, 18, 3, groups=2)
        self.hidden = nn.Linear(18, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.wide(torch.relu(self.depthwise(torch.relu(self.stem(x))))))
        x = torch.relu(self.grouped(torch.relu(self.up(x)))).mean((2, 3))
        return self.head(torch.relu(self.hidden(x)))


def mixed() -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return traced(Mixed(), 3, 6, 6)


@dataclass(frozen=True)
class Given:
    """Scores of entries as they are given; of other weights, their magnitude."""

    scores: Mapping[str, Tensor] | None = None
    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        raise NotImplementedError

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        magnitudes = {name: weight.detach().abs() for name, weight in scene.network.parameters()}
        return {**magnitudes, **(self.scores or {})}


def scene_of(network: Network, prune: Prune, samples: Any = None, **changes: Any) -> Scene:
    structure = analyze(network, example_inputs(network))
    scene = Scene(
        dense=network,
        network=network,
        structure=structure,
        selection=structure.everything(),
        samples=samples,
        task="classification",
        prune=prune,
        seed=0,
    )
    return replace(scene, **changes)


def weights_by_name(network: Network) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in network.parameters()}
