import pytest
from torch import Tensor, nn

from tests.worker.networks import MLP, NETWORKS, traced
from worker.profile import profile


def test_a_profile_describes_inputs_costs_and_groups() -> None:
    network = NETWORKS["padded-resnet"]()
    found = profile(network)
    assert (found.inputs[0].shape, found.inputs[0].dtype) == (["batch", 3, 32, 32], "float32")
    assert found.parameters == network.parameter_count()
    assert found.layers[0].model_dump() == {
        "name": "conv1", "op": "conv2d", "shape": [16, 3, 3, 3], "parameters": 432, "macs": 432 * 1024, "prunable": 16,
    }  # fmt: skip
    assert found.prunable.components == 176
    assert found.normalization == "batch_norm"


def test_reach_falls_with_what_is_kept_down_to_the_least() -> None:
    found = profile(NETWORKS["efficientnet"]()).prunable
    macs = [reach.macs for reach in found.reach]
    assert [reach.keep for reach in found.reach] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert macs == sorted(macs, reverse=True)
    assert found.min_macs <= macs[-1] < macs[0] <= 1


class Folded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 3), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).relu()).mean([2, 3]))


def test_folded_batch_norm_and_uneven_channels_are_pointed_out() -> None:
    found = profile(traced(Folded(), 3, 16, 16))
    assert [notice.code for notice in found.warnings] == ["batch-norm-folded", "channels-not-in-blocks"]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def test_a_model_without_anything_to_remove_says_so() -> None:
    found = profile(traced(Tiny(), 20))
    assert [notice.code for notice in found.warnings] == ["nothing-prunable"]
    assert found.prunable.min_macs == pytest.approx(1)


def test_a_network_without_convolutions_is_not_said_to_be_folded() -> None:
    assert [notice.code for notice in profile(traced(MLP(), 20)).warnings] == []
