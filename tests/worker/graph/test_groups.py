"""Which channels are found to belong together."""

import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, traced
from worker.graph.shapes import example_inputs
from worker.graph.structure import Structure, analyze


def structure_of(name: str) -> Structure:
    network = NETWORKS[name]()
    return analyze(network, example_inputs(network))


def groups(structure: Structure) -> dict[tuple[str, ...], int]:
    return {group.layers: group.channels for group in structure.groups}


def test_a_padded_shortcut_ties_the_middle_channels_and_frees_the_padded_ones() -> None:
    found = groups(structure_of("padded-resnet"))
    stream = ("conv1", "blocks.0.conv2", "blocks.1.conv2", "blocks.2.conv2")
    assert found[stream] == 16
    assert found[stream[2:]] == 16
    assert found[stream[3:]] == 32
    assert found[("blocks.1.conv1",)] == 32


def test_depthwise_and_expansion_go_together() -> None:
    assert groups(structure_of("mobilenet-v2"))[("blocks.0.expand.0", "blocks.0.depthwise.0")] == 64


def test_squeeze_and_excitation_follows_the_channels_it_scales() -> None:
    found = groups(structure_of("efficientnet"))
    assert found[("blocks.0.expand.0", "blocks.0.depthwise.0", "blocks.0.squeeze.3")] == 64
    assert found[("blocks.0.squeeze.1",)] == 16


def test_concatenated_layers_stay_apart() -> None:
    found = groups(structure_of("densenet"))
    assert [found[(name,)] for name in ("stem", "convs.0", "convs.1", "convs.2", "transition.0")] == [
        16,
        16,
        16,
        16,
        32,
    ]


def test_a_grouped_convolution_gives_up_whole_groups() -> None:
    assert groups(structure_of("grouped-resnet"))[("stages.0.a.0", "stages.0.b.0")] == 4


def test_flattened_channels_take_all_their_positions_along() -> None:
    structure = structure_of("vgg")
    last = next(group for group in structure.groups if group.layers == ("features.4",))
    assert {member.parameter: member.entries for member in last.members}["classifier.0.weight"] == 9


def test_attention_gives_up_whole_heads() -> None:
    assert groups(structure_of("attention"))[("qkv",)] == 4


def test_group_norm_gives_up_whole_groups_where_there_are_many() -> None:
    found = groups(structure_of("group-norm"))
    assert found == {("a",): 8, ("b",): 32}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_classes_are_never_prunable(name: str) -> None:
    structure = structure_of(name)
    assert structure.layers[-1].prunable == 0
    assert structure.blocked == ()


class Flipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.index_select(self.a(x), 1, torch.arange(15, -1, -1))
        return self.head(self.c(self.b(x)).mean([2, 3]))


def test_an_op_without_a_rule_pins_what_it_touches_and_is_named() -> None:
    network = traced(Flipped(), 3, 16, 16)
    structure = analyze(network, example_inputs(network))
    assert [(blocked.op, blocked.layers) for blocked in structure.blocked] == [("aten.index_select.default", ("a",))]
    assert groups(structure) == {("b",): 16, ("c",): 16}


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.block(self.stem(x)).relu()).mean([2, 3]))


def test_a_layer_used_twice_is_one_layer_with_tied_ends() -> None:
    network = traced(Shared(), 3, 16, 16)
    structure = analyze(network, example_inputs(network))
    assert groups(structure) == {("stem", "block"): 16}


class Columns(nn.Module):
    """Few wide groups: a channel of each group goes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3, groups=2), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).relu()).mean([2, 3]))


def test_few_wide_groups_give_up_a_channel_each() -> None:
    network = traced(Columns(), 3, 16, 16)
    structure = analyze(network, example_inputs(network))
    assert groups(structure) == {("a",): 16, ("b",): 32}
