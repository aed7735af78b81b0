"""What kind of unit each group is. Expected of the structure, whatever the layers are called."""

import functools
import warnings
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, traced
from tests.worker.zoo import ZOO
from worker.graph.shapes import example_inputs
from worker.graph.structure import Group, Structure, analyze
from worker.graph.traced import from_exported


@functools.cache
def structure_of(name: str) -> Structure:
    # Without `no_grad` torch.export keeps a region without gradients apart; it warns of how recurrent layers are made.
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        network = from_exported(ZOO[name]().exported())
    return analyze(network, example_inputs(network))


def channels(structure: Structure) -> list[Group]:
    return [group for group in structure.groups if group.role != "layer"]


def roles(structure: Structure) -> dict[str, str]:
    """Role of every layer's output, by the name of the layer."""
    return {layer: group.role for group in channels(structure) for layer in group.layers}


def small(module: nn.Module, *shape: int) -> dict[str, str]:
    network = traced(module, *shape)
    return roles(analyze(network, example_inputs(network)))


@pytest.mark.parametrize(
    "name",
    ["resnet", "resnext", "resnet-padded", "mobilenet-v2", "mobilenet-v3", "efficientnet", "densenet", "shufflenet"],
)
def test_convolutional_networks_have_channels_only(name: str) -> None:
    assert set(roles(structure_of(name)).values()) == {"channel"}


def test_group_norm_makes_no_embedding() -> None:
    network = NETWORKS["group-norm"]()
    assert {group.role for group in channels(analyze(network, example_inputs(network)))} == {"channel"}


def test_the_hidden_layer_of_a_classifier_is_made_of_neurons() -> None:
    assert roles(structure_of("vgg")) == {"features.0": "channel", "features.4": "channel", "classifier.0": "neuron"}


def test_a_normalised_hidden_layer_without_a_skip_is_made_of_neurons() -> None:
    assert roles(structure_of("mlp")) == {"net.0": "neuron", "net.3": "neuron"}


def test_the_width_of_a_convnext_stage_is_an_embedding_and_its_hidden_layer_neurons() -> None:
    found = roles(structure_of("convnext"))
    assert {found["stem.0"], found["first.depthwise"], found["first.down"]} == {"embedding"}
    assert {found["first.up"], found["second.up"]} == {"neuron"}


@pytest.mark.parametrize(
    ("name", "stream", "heads", "hidden"),
    [
        ("vit", "patch", "layers.0.attention.in_proj_weight", "layers.0.mlp.0"),
        ("bert", "words", "layers.0.query", "layers.0.intermediate"),
        ("gpt2", "words", "layers.0.qkv", "layers.0.up"),
        ("llama", "words", "layers.0.q", "layers.0.gate"),
        ("t5", "shared", "decoder.1.cross.q", "encoder.0.gate"),
    ],
)
def test_transformers_have_heads_neurons_and_an_embedding(name: str, stream: str, heads: str, hidden: str) -> None:
    found = roles(structure_of(name))
    assert (found[stream], found[heads], found[hidden]) == ("embedding", "head", "neuron")


def test_grouped_queries_are_heads_by_key_value_group() -> None:
    heads = [group for group in channels(structure_of("llama")) if group.role == "head"]
    assert [(group.layers, group.channels) for group in heads] == [
        (("layers.0.q", "layers.0.k", "layers.0.v"), 2),
        (("layers.1.q", "layers.1.k", "layers.1.v"), 2),
    ]


def test_the_streams_of_a_swin_transformer_are_embeddings() -> None:
    found = roles(structure_of("swin"))
    assert (found["patch"], found["blocks.2.reduce"], found["blocks.0.mlp.0"]) == ("embedding", "embedding", "neuron")


@pytest.mark.parametrize("name", ZOO)
def test_every_group_has_a_role_and_only_blocks_are_layers(name: str) -> None:
    structure = structure_of(name)
    by_prefix = Counter((group.id[0], group.role == "layer") for group in structure.groups)
    assert set(by_prefix) <= {("g", False), ("b", True)}
    assert by_prefix["b", True] == len(structure.blocks)


class WrittenOut(nn.Module):
    """A stream whose norm is made of single ops."""

    def __init__(self, root: bool) -> None:
        super().__init__()
        self.embed, self.up, self.down, self.head = (nn.Linear(a, b) for a, b in ((6, 16), (16, 24), (24, 16), (16, 3)))
        self.root = root

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        scale = x.pow(2).mean(-1, keepdim=True) + 1e-6
        y = x * (scale.to(torch.float32).rsqrt() if self.root else torch.sigmoid(scale))
        return self.head(x + self.down(self.up(y).relu()))


def test_a_norm_is_known_by_the_root_of_its_mean() -> None:
    assert small(WrittenOut(root=True), 5, 6)["embed"] == "embedding"


def test_a_gate_from_a_mean_over_channels_is_no_norm() -> None:
    assert small(WrittenOut(root=False), 5, 6)["embed"] == "neuron"


class ChannelAttention(nn.Module):
    """A matrix product of activations in which channels are rows, not heads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.a(x).flatten(2)
        mixed = torch.tanh(rows @ rows.transpose(1, 2)) @ rows
        return self.head(self.b(mixed.unsqueeze(2)).mean([2, 3]))


def test_channels_that_attend_to_each_other_are_no_heads() -> None:
    assert set(small(ChannelAttention(), 3, 8, 8).values()) == {"channel"}


class ConvolvedHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.head = nn.Conv2d(3, 48, 1), nn.Conv2d(16, 8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.qkv(x).reshape(b, 3, 4, 4, h * w).unbind(1)
        y = F.scaled_dot_product_attention(q.transpose(2, 3), k.transpose(2, 3), v.transpose(2, 3))
        return self.head(self.out(y.transpose(2, 3).reshape(b, 16, h, w)).mean([2, 3]))


def test_heads_may_be_made_by_convolutions() -> None:
    assert small(ConvolvedHeads(), 3, 4, 4) == {"qkv": "head", "out": "channel"}


class OneGroup(nn.Module):
    """PoolFormer: group norm of one group is a norm over all channels."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.stem, self.norm, self.up, self.down, self.head = (
            nn.Conv2d(3, 16, 3),
            nn.GroupNorm(groups, 16),
            nn.Conv2d(16, 24, 1),
            nn.Conv2d(24, 16, 1),
            nn.Linear(16, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((x + self.down(self.up(self.norm(x)).relu())).mean([2, 3]))


@pytest.mark.parametrize(("groups", "role"), [(1, "embedding"), (2, "channel"), (8, "channel")])
def test_only_a_group_norm_of_one_group_makes_an_embedding(groups: int, role: str) -> None:
    assert small(OneGroup(groups), 3, 8, 8) == {"stem": role, "down": role, "up": "channel"}
