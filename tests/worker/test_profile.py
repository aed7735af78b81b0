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


def test_groups_have_roles_and_blocks_say_what_they_save() -> None:
    found = profile(NETWORKS["attention"]())
    assert {group.id: group.role for group in found.prunable.groups} == {
        "g1": "embedding",
        "g2": "head",
        "g3": "neuron",
    }
    attention, mlp = found.prunable.blocks
    assert (mlp.id, mlp.layers, mlp.params) == ("b2", ["up", "down"], 64 + 2 * 32 * 64 + 64 + 32)
    assert (mlp.macs, attention.macs) == (17 * 2 * 32 * 64, 17 * (32 * 96 + 32 * 32) + 2 * 17 * 17 * 32)


def test_every_set_of_granularities_says_how_far_it_gets() -> None:
    found = profile(NETWORKS["attention"]()).prunable
    by = {tuple(each.granularity): each for each in found.by_granularity}
    assert len(by) == 2**4 - 1
    assert {name: by[name,].units for name in ("head", "neuron", "embedding", "layer")} == {
        "head": 4, "neuron": 64, "embedding": 32, "layer": 2,
    }  # fmt: skip
    for names, each in by.items():
        macs = [point.macs for point in each.reach]
        assert macs == sorted(macs, reverse=True)
        assert all(each.reach[-1].macs >= by[more].reach[-1].macs for more in by if set(names) < set(more))
    # Without both blocks the patches and the classifier are left.
    left = 16 * 32 * 3 * 64 + 32 * 10
    assert by["layer",].reach[-1].macs * profile(NETWORKS["attention"]()).macs == pytest.approx(left)
    assert found.min_macs == by["head", "neuron"].reach[-1].macs


def test_half_of_the_blocks_are_spread_over_the_depth() -> None:
    by = {tuple(each.granularity): each.reach for each in profile(NETWORKS["attention"]()).prunable.by_granularity}
    half = next(point for point in by["layer",] if point.keep == 0.5)
    assert by["layer",][-1].macs < half.macs < 1


def test_single_weights_may_be_zero_in_layers_that_the_granularity_fits() -> None:
    found = {each.granularity: each for each in profile(NETWORKS["padded-resnet"]()).prunable.sparse}
    assert found["unstructured"].layers == found["n:m"].layers + 1, "the first layer has three inputs"
    assert found["n:m"].most == 0.5
    assert found["unstructured"].most > 0.99


class Headless(nn.Module):
    """A stream that is normalised, and blocks; nothing of the default granularities."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mix, self.head = (
            nn.Linear(6, 16),
            nn.LayerNorm(16),
            nn.Linear(16, 16),
            nn.Linear(16, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.mix(self.norm(x)))


def test_a_model_with_other_granularities_only_says_so() -> None:
    found = profile(traced(Headless(), 6))
    assert [notice.code for notice in found.warnings] == ["nothing-prunable-by-default", "width-is-normalized"]
    assert "'embedding', 'layer'" in found.warnings[0].detail
    assert found.prunable.min_macs == 1


def test_the_size_of_the_file_is_estimated() -> None:
    found = profile(NETWORKS["padded-resnet"]())
    # 4 bytes for every weight, and the batch norms are folded.
    assert found.size_bytes == pytest.approx(4 * found.parameters, rel=0.03)
    sizes = [point.size_bytes or 0 for point in found.prunable.reach]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < found.size_bytes / 2


def test_memory_falls_with_what_is_kept() -> None:
    found = profile(NETWORKS["padded-resnet"]())
    # Two feature maps of 16 channels and the sum of a block, at 32 x 32.
    assert found.memory_bytes == 3 * 16 * 32 * 32 * 4
    sizes = [point.memory_bytes or 0 for point in found.prunable.reach]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < found.memory_bytes
