"""Whole blocks go: which ones may, what that saves, and what is then computed."""

import functools
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.worker.formats.onnx.reading import LIMITS
from tests.worker.graph.test_equivalence import draw
from tests.worker.networks import traced
from tests.worker.zoo import ZOO
from worker.export.onnx import write_onnx
from worker.export.pt2 import write_pt2
from worker.formats.model import read_model
from worker.graph.check import self_check
from worker.graph.inner import inner_values
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.graph.traced import from_exported


@functools.cache
def network_of(name: str) -> Network:
    with torch.no_grad():  # without it torch.export keeps a region without gradients apart
        return from_exported(ZOO[name]().exported())


@functools.cache
def structure_of(name: str) -> Structure:
    return analyze(network_of(name), example_inputs(network_of(name)))


def drop(structure: Structure, selection: Selection, share: float, seed: int) -> Selection:
    """`selection` without a random part of the blocks, of one at least."""
    selection = selection.copy()
    luck = np.random.default_rng(seed).random(len(structure.blocks))
    for block, lucky in zip(structure.blocks, luck, strict=True):
        selection[block.component] = lucky > max(share, luck.min())
    return selection


def without(structure: Structure, *names: str) -> Selection:
    selection = structure.everything()
    for block in structure.blocks:
        selection[block.component] = block.name not in names
    return selection


def small(module: nn.Module, *shape: int) -> tuple[Network, Structure]:
    network = traced(module, *shape)
    return network, analyze(network, example_inputs(network))


def assert_exact(network: Network, structure: Structure, selection: Selection, seed: int = 0) -> Network:
    """Same function as the masked dense network, and at exactly the predicted cost, layer by layer."""
    pruned = remove(network, structure, selection)
    inputs = example_inputs(network, batch=1 if structure.merges_batch(network) else 3, seed=seed)
    assert self_check(network, pruned, structure, selection, inputs) < 1e-5
    predicted, again = structure.cost(selection), analyze(pruned, example_inputs(pruned))
    assert predicted.params == pruned.parameter_count()
    assert predicted.macs == pytest.approx(again.cost(again.everything()).macs, rel=1e-12)
    found = {layer.name: (layer.channels, layer.macs, layer.parameters) for layer in again.layers}
    for layer, left in zip(structure.layers, structure.layer_costs(selection), strict=True):
        assert (left.channels, left.macs, left.params) == found.get(layer.name, (0, 0, 0))
        assert left.gone == (layer.name not in found)
    return pruned


WITH_BLOCKS = ["resnet", "mobilenet-v3", "convnext", "detector", "vit", "swin", "bert", "gpt2", "llama", "t5"]


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_any_blocks_go_with_any_channels(name: str) -> None:
    network, structure = network_of(name), structure_of(name)
    for seed, (channels, blocks) in enumerate([(0.0, 0.5), (0.4, 0.5), (0.4, 1.0)]):
        selection = drop(structure, draw(structure, channels, seed), blocks, seed + 1)
        pruned = assert_exact(network, structure, selection, seed)
        inputs = example_inputs(network, batch=1)
        assert (pruned(*inputs)[0] - network(*inputs)[0]).abs().max() > 1e-4, "a vacuous draw"


@pytest.mark.parametrize("name", ["resnet", "vit", "t5"])
def test_cutting_blocks_in_two_steps_equals_cutting_at_once(name: str) -> None:
    network, structure = network_of(name), structure_of(name)
    final = drop(structure, draw(structure, 0.4, 0), 0.7, 0)
    halfway = final | (np.random.default_rng(1).random(len(final)) > 0.5)
    once = remove(network, structure, final)
    twice = remove(remove(network, structure, halfway), structure, final, since=halfway)
    inputs = example_inputs(network, batch=1)
    assert not np.array_equal(halfway, final)
    assert (once(*inputs)[0] == twice(*inputs)[0]).all()
    assert dict(once.module.named_parameters()).keys() == dict(twice.module.named_parameters()).keys()


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet", ["blocks.0", "blocks.2"]),
        ("resnet-padded", ["blocks.0"]),
        ("mobilenet-v2", ["blocks.0", "blocks.2"]),
        ("vit", ["layers.0.attention", "layers.0.mlp", "layers.1.attention", "layers.1.mlp"]),
        ("gpt2", [f"layers.{i}.{part}" for i in "01" for part in ("qkv … layers.{}.out", "up … layers.{}.down")]),
        ("densenet", []),
        ("unet", []),
    ],
)  # fmt: skip
def test_blocks_are_branches_beside_an_identity_and_named_by_their_layers(name: str, blocks: list[str]) -> None:
    expected = [block.format(block.split(".")[1]) for block in blocks]
    assert [block.name for block in structure_of(name).blocks] == expected


def test_a_block_is_a_group_of_one_that_keeps_the_ids_of_the_others() -> None:
    structure = structure_of("resnet")
    assert [group.id for group in structure.groups] == ["g1", "g2", "g3", "g4", "g5", "b1", "b2"]
    block, group = structure.blocks[0], structure.groups[5]
    assert group.role == "layer"
    assert group.layers == block.layers == ("blocks.0.conv1.0", "blocks.0.conv2.0")
    assert group.components.tolist() == [block.component]


def test_what_goes_with_a_block_is_named() -> None:
    structure = structure_of("vit")
    pruned = remove(network_of("vit"), structure, without(structure, "layers.0.mlp"))
    left = pruned.module.state_dict().keys()
    gone = set(network_of("vit").module.state_dict()) - left
    assert gone == set(next(block.parameters for block in structure.blocks if block.name == "layers.0.mlp"))
    assert {"layers.0.norm2.weight", "layers.0.mlp.0.weight", "layers.0.mlp.3.bias"} <= gone


def test_the_encoder_goes_with_the_last_cross_attention() -> None:
    network, structure = network_of("t5"), structure_of("t5")
    one = assert_exact(network, structure, without(structure, "decoder.0.cross"))
    both = assert_exact(network, structure, without(structure, "decoder.0.cross", "decoder.1.cross"))
    assert "encoder.0.up.weight" in one.module.state_dict()
    assert not any(name.startswith("encoder.") for name in both.module.state_dict())


class Chain(nn.Module):
    """A residual block that is run several times with the same layers (ALBERT), with another one inside, and one more
    behind."""

    def __init__(self, times: int, nested: bool) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
        self.outer, self.inner, self.other = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.times, self.nested = times, nested

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).tanh()
        for _ in range(self.times):
            y = self.outer(x).tanh()
            x = x + (y + self.inner(y).tanh() if self.nested else y) * 2
        return self.head(x + self.other(x).tanh())


def test_shared_layers_cost_until_the_last_block_that_uses_them_is_gone() -> None:
    network, structure = small(Chain(times=2, nested=False), 6)
    assert len(structure.blocks) == 3
    whole, one = structure.cost(structure.everything()), structure.everything()
    one[structure.blocks[0].component] = False
    both = one.copy()
    both[structure.blocks[1].component] = False
    outer = 16 * 16
    assert (whole.macs - structure.cost(one).macs, whole.params - structure.cost(one).params) == (outer, 0)
    assert whole.macs - structure.cost(both).macs == 2 * outer
    assert whole.params - structure.cost(both).params == outer + 16
    for selection in (one, both):
        assert_exact(network, structure, selection)


def test_a_block_inside_of_a_block_goes_alone_or_with_it() -> None:
    network, structure = small(Chain(times=1, nested=True), 6)
    inner, outer, other = structure.blocks
    assert [block.name for block in structure.blocks] == ["inner", "outer … inner", "other"]
    assert (inner.layers, outer.layers) == (("inner",), ("outer", "inner"))
    for seed in range(8):
        assert_exact(network, structure, drop(structure, draw(structure, 0.3, seed), 0.5, seed))
    assert structure.blocks_of(without(structure, outer.name)) == (other,)
    assert structure.blocks_of(without(structure, inner.name)) == (outer, other)


def test_blocks_are_left_alone_where_their_cost_has_no_expression() -> None:
    """`inner` is read for the first two blocks or for the second two."""
    network, structure = small(Chain(times=2, nested=True), 6)
    assert [block.branch for block in structure.blocks] == ["mul", "mul_1", "tanh_5"]
    for seed in range(4):
        assert_exact(network, structure, drop(structure, draw(structure, 0.3, seed), 0.5, seed))


class Sum(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.a, self.b = (nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
        self.same, self.head, self.kind = nn.Conv2d(3, 3, 1), nn.Linear(8, 4), kind
        self.bias = nn.Parameter(torch.rand(1, 8, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "input":
            x = x + self.same(x)
        x = self.stem(x)
        match self.kind:
            case "siblings":
                x = self.a(x) + self.b(x)
            case "read twice":
                y = self.a(x)
                x = x + y + y.tanh()
            case "scaled skip":
                x = torch.add(self.a(x), x, alpha=2)
            case "scaled branch":
                x = torch.add(x, self.a(x), alpha=2)
            case "no layer":
                x = x + x.tanh()
            case "broadcast":
                x = x + self.a(x).mean([2, 3], keepdim=True)
            case "parameter":
                x = self.bias + self.a(x)
            case "permuted":
                x = self.a(x.relu()).permute(0, 2, 3, 1) + x.relu().permute(0, 2, 3, 1)
                x = x.permute(0, 3, 1, 2)
            case "stochastic":
                x = F.relu(x + F.dropout(self.b(self.a(x).relu()), 0.1))
        return self.head(x.mean([2, 3]))


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        *[("siblings", 0), ("read twice", 0), ("scaled skip", 0), ("no layer", 0), ("broadcast", 0), ("parameter", 0)],
        *[("input", 0), ("scaled branch", 1), ("stochastic", 1)],
    ],
)
def test_only_a_private_branch_beside_what_it_starts_from_can_go(kind: str, blocks: int) -> None:
    network, structure = small(Sum(kind), 3, 8, 8)
    assert len(structure.blocks) == blocks
    selection = drop(structure, draw(structure, 0.4, 0), 1.0, 0)
    assert_exact(network, structure, selection)


class Rearranged(nn.Module):
    """The skip has its axes in another order than what the branch reads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.mix(x.flatten(2).transpose(1, 2)).transpose(1, 2).view(x.shape)
        return self.head((x.clone() + y).mean([2, 3]))


def test_a_skip_may_be_rearranged() -> None:
    network, structure = small(Rearranged(), 3, 6, 6)
    assert [block.layers for block in structure.blocks] == [("mix",)]
    assert_exact(network, structure, drop(structure, draw(structure, 0.4, 0), 1.0, 0))


def test_a_wrong_bypass_is_found_by_the_self_check() -> None:
    network, structure = network_of("resnet"), structure_of("resnet")
    selection = without(structure, "blocks.0")
    whole = remove(network, structure, structure.everything())
    assert self_check(network, whole, structure, selection, example_inputs(network, 2)) > 1e-3


@pytest.mark.parametrize("name", ["resnet", "vit", "llama"])
def test_what_is_left_inside_is_named_in_both_networks(name: str) -> None:
    network, structure = network_of(name), structure_of(name)
    selection = drop(structure, draw(structure, 0.4, 0), 0.5, 3)
    names = {node.name for node in remove(network, structure, selection).module.graph.nodes}
    inner = inner_values(structure, selection)
    assert inner
    assert {value.node for value in inner} <= names & set(structure.flows)
    consumers = structure.consumers_of(selection)
    assert {consumer.node for consumer in consumers} | {consumer.source for consumer in consumers} <= names
    assert len(consumers) < len(structure.consumers)


@pytest.mark.parametrize("name", ["resnet", "bert"])
def test_a_shallower_network_survives_its_files(name: str, tmp_path: Path) -> None:
    network, structure = network_of(name), structure_of(name)
    pruned = remove(network, structure, drop(structure, draw(structure, 0.3, 0), 0.5, 0))
    inputs = example_inputs(pruned, batch=2)
    with torch.no_grad():
        expected = pruned(*inputs)[0]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec", FutureWarning)
        write_pt2(pruned, tmp_path / "model.pt2")
        write_onnx(pruned, tmp_path / "model.onnx")
    again = read_model(tmp_path / "model.pt2", LIMITS)
    torch.testing.assert_close(again(*inputs)[0], expected)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    feed = {spec.name: value.numpy() for spec, value in zip(pruned.inputs, inputs, strict=True)}
    np.testing.assert_allclose(session.run(None, feed)[0], expected.numpy(), rtol=1e-4, atol=1e-5)
