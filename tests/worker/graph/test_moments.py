"""Variances and deviations over channels: they run over those that are kept, and the self-check knows it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.worker.graph.exact import cut, draw
from tests.worker.networks import traced
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze

NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "std": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6),
    "biased var": lambda x: x * torch.rsqrt(x.var(-1, unbiased=False)[..., None] + 1e-6),
    "var_mean": lambda x: (lambda var, mean: (x - mean) * torch.rsqrt(var + 1e-5))(
        *torch.var_mean(x, dim=-1, correction=0, keepdim=True)
    ),
    "std_mean": lambda x: (lambda std, mean: x / (std + mean.abs())[:, :, None])(*torch.std_mean(x, -1)),
    "var of all": lambda x: x / torch.stack([one.var() for one in x.unbind(1)]).sum(),
}


class Normed(nn.Module):
    def __init__(self, norm: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.into, self.head, self.norm = nn.Linear(8, 24), nn.Linear(24, 5), norm

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(torch.relu(self.into(x)) + 0.5))


@pytest.mark.parametrize("norm", NORMS)
def test_moments_over_channels_are_those_of_the_kept_ones(norm: str) -> None:
    network = traced(Normed(NORMS[norm]), 6, 8)
    structure = analyze(network, example_inputs(network))
    (group,) = structure.groups
    assert (group.channels, group.statistics) == (24, True)
    found = cut(network, structure, draw(structure, 0.5, 0), example_inputs(network, 3))
    assert found.masked < 1e-5
    assert found.change > 0
