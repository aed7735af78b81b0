"""The sizes that a network is run with where its inputs leave them free."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from tests.worker.networks import NETWORKS
from worker.errors import UnsupportedModel
from worker.graph.network import Network, TensorSpec
from worker.graph.shapes import UNKNOWN_SIZE, example_inputs, example_shape, record_shapes
from worker.graph.traced import from_exported
from worker.profile import profile


class FullyConvolutional(nn.Module):
    """Takes images of any size from 30 × 30 on: too small ones have nothing left after the last convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 7, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()
        )
        self.head = nn.Linear(32, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.layers(image).mean((2, 3)))


def exported() -> ExportedProgram:
    free = {0: Dim("batch"), 2: Dim.AUTO, 3: Dim.AUTO}
    return torch.export.export(FullyConvolutional().eval(), (torch.randn(2, 3, 64, 48),), dynamic_shapes=(free,))


@pytest.fixture(scope="module")
def network() -> Network:
    return from_exported(exported())


def test_free_sizes_are_run_as_they_were_traced(network: Network) -> None:
    (spec,) = network.inputs
    assert (spec.shape, spec.traced) == (("batch", 3, "size2", "size3"), (2, 3, 64, 48))
    (image,) = example_inputs(network, batch=5)
    assert image.shape == (5, 3, 64, 48)


def test_costs_are_for_the_size_that_the_profile_names(network: Network) -> None:
    found = profile(network)
    (notice,) = [notice for notice in found.warnings if notice.code == "free-dimensions"]
    assert "`image` of shape (1, 3, 64, 48)" in notice.detail
    assert found.layers[0].macs == 16 * 3 * 7 * 7 * 29 * 21


def test_a_free_size_that_was_never_known_is_a_fixed_one() -> None:
    assert example_shape(TensorSpec("ids", ("batch", "length"), torch.int64), 3) == (3, UNKNOWN_SIZE)


def test_an_input_that_does_not_run_is_refused_at_the_node(network: Network) -> None:
    with pytest.raises(UnsupportedModel, match=r"image \(1, 3, 20, 20\): conv2d_2 \(aten\.conv2d\.default\): "):
        record_shapes(network, (torch.zeros(1, 3, 20, 20),))


def test_every_node_is_recorded() -> None:
    network = NETWORKS["shufflenet"]()
    recorded = record_shapes(network, example_inputs(network, 2))
    assert recorded.keys() == {node.name for node in network.module.graph.nodes}
    assert recorded["x"] == (2, 3, 32, 32)
