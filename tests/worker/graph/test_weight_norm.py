"""Weights that are worked out of a direction and a length."""

from torch import nn

from tests.worker.graph.exact import cut, draw
from tests.worker.networks import traced
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze


def test_weight_norm_leaves_channels_prunable() -> None:
    normed = nn.utils.parametrizations.weight_norm
    network = traced(nn.Sequential(normed(nn.Conv2d(3, 16, 3)), nn.ReLU(), normed(nn.Conv2d(16, 4, 3))), 3, 8, 8)
    structure = analyze(network, example_inputs(network))
    assert [group.channels for group in structure.groups] == [16]
    found = cut(network, structure, draw(structure, 0.5, 0), example_inputs(network, 3))
    assert found.masked < 1e-5
    assert found.change > 0
