"""One small net per pattern that surgery can get wrong: each must stay exact, and must stay prunable."""

import functools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.worker.graph.test_equivalence import draw
from tests.worker.networks import traced
from worker.graph.check import self_check
from worker.graph.labels import UNUSUAL
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.graph.surgery import remove


class Pattern(nn.Module):
    """Two convolutions, something between, and a classifier."""

    def __init__(self, middle: Callable[["Pattern", Tensor], Tensor], between: int, outputs: int = 16) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(between, outputs, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 16, 1, 1) + 0.5)
        self.plane = nn.Parameter(torch.rand(8, 8) + 0.5)
        self.prelu, self.attend = nn.PReLU(16), nn.Conv2d(2, 1, 3, padding=1)
        self.up = nn.ConvTranspose2d(16, 24, 2, 2)
        self.flat, self.matrix = nn.Linear(16 * 64, 32), nn.Parameter(torch.randn(16, 32) / 4)
        self.instance, self.middle = nn.InstanceNorm2d(16, affine=True), middle
        self.head = nn.Linear(outputs, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(self.middle(self, torch.relu(self.a(x))))).mean([2, 3]))


def split_unevenly(net: Pattern, x: Tensor) -> Tensor:
    left, right = torch.split(x, [4, 12], 1)
    return torch.cat((right.tanh(), left), 1)


def spatial_attention(net: Pattern, x: Tensor) -> Tensor:
    mean, most = x.mean(1, keepdim=True), x.abs().sum(1, keepdim=True)
    return x * torch.sigmoid(net.attend(torch.cat((mean, most), 1)))


def flatten_and_back(net: Pattern, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c * h * w).view(n, c, h, w)


def computed_sizes(net: Pattern, x: Tensor) -> Tensor:
    return (
        x.view(x.size(0), x.size(1), -1).transpose(1, 2).reshape(-1, 16).view(x.size(0), 8, 8, 16).permute(0, 3, 1, 2)
    )


def gram_matrix(net: Pattern, x: Tensor) -> Tensor:
    rows = x.flatten(2)
    return x * torch.bmm(rows.transpose(1, 2), rows).mean((1, 2))[:, None, None, None]


PATTERNS: dict[str, tuple[Callable[[Pattern, Tensor], Tensor], int]] = {
    "plain": (lambda net, x: x, 16),
    "slice of channels": (lambda net, x: x[:, 4:], 12),
    "slice from the end": (lambda net, x: x[:, :-4], 12),
    "narrow": (lambda net, x: x.narrow(1, 2, 8), 8),
    "uneven split": (split_unevenly, 16),
    "repeated part": (lambda net, x: torch.cat((x, x), 1), 32),
    "joined with the input": (lambda net, x: torch.cat((x, x[:, :3] * 2, x), 1), 35),
    "padded channels": (lambda net, x: F.pad(x, (0, 0, 0, 0, 3, 5)), 24),
    "padded image": (lambda net, x: F.pad(x, (1, 1, 2, 0), mode="reflect"), 16),
    "parameter over channels": (lambda net, x: x * net.scale, 16),
    "parameter over positions": (lambda net, x: x + net.plane, 16),
    "prelu": (lambda net, x: net.prelu(x - 0.2), 16),
    "instance norm": (lambda net, x: net.instance(x), 16),
    "spatial attention": (spatial_attention, 16),
    "flatten and back": (flatten_and_back, 16),
    "computed sizes": (computed_sizes, 16),
    "channel shuffle": (lambda net, x: F.channel_shuffle(x, 4), 16),
    "pixel shuffle": (lambda net, x: F.pixel_shuffle(x, 2), 4),
    "transposed convolution": (lambda net, x: net.up(x), 24),
    "upsampling": (lambda net, x: F.interpolate(x, scale_factor=2.0, mode="bilinear"), 16),
    "stack and sum": (lambda net, x: torch.stack((x, x.tanh()), 1).sum(1), 16),
    "stack and unbind": (lambda net, x: torch.stack((x, x.tanh()), 2).unbind(2)[1], 16),
    "matrix product": (lambda net, x: (x.permute(0, 2, 3, 1) @ net.matrix).permute(0, 3, 1, 2), 32),
    "gram matrix": (gram_matrix, 16),
    "softmax over channels": (lambda net, x: x * x.softmax(1), 16),
    "largest over channels": (lambda net, x: x * x.amax(1, keepdim=True), 16),
    "clamped by a number": (lambda net, x: x.clamp(0.1, 0.9) ** 2, 16),
    "where": (lambda net, x: torch.where(x > 0.3, x, x * 0.1), 16),
    "constant of the same type": (lambda net, x: x + x.new_ones(1, 1, 8, 8), 16),
    "one channel picked": (lambda net, x: x * x[:, 3:4] + x[:, 5].unsqueeze(1), 16),
    "one channel split off": (lambda net, x: torch.split(x, [1, 15], 1)[1] * x[:, :1], 15),
    "maxima of two": (lambda net, x: torch.maximum(x, net.scale * x), 16),
    "groups of channels": (lambda net, x: x.view(x.size(0), 4, 4, 8, 8).sum(2), 4),
    "mean over groups": (lambda net, x: x.unflatten(1, (4, 4)).mean(1), 4),
    "axis added and dropped": (lambda net, x: x.unsqueeze(1).squeeze(1), 16),
    "moved axes": (lambda net, x: x.movedim(1, -1).swapaxes(1, 2).tanh().movedim(-1, 1), 16),
    "rolled and flipped image": (lambda net, x: x.roll(1, 2).flip(3), 16),
    "variance over positions": (lambda net, x: x / (x.var((2, 3), keepdim=True) + 1), 16),
    "largest over positions": (lambda net, x: x - x.max(2, keepdim=True)[0], 16),
    "log softmax over positions": (lambda net, x: x.flatten(2).log_softmax(2).view_as(x), 16),
    "running sum over positions": (lambda net, x: x.cumsum(2), 16),
}  # fmt: skip


@functools.cache
def network_of(name: str) -> Network:
    torch.manual_seed(0)
    return traced(Pattern(*PATTERNS[name]), 3, 8, 8)


@pytest.mark.parametrize("name", PATTERNS)
def test_the_pattern_is_pruned_exactly(name: str) -> None:
    network = network_of(name)
    structure = analyze(network, example_inputs(network))
    assert structure.groups
    assert UNUSUAL not in {blocked.why for blocked in structure.blocked}, "a rule broke"
    for seed in range(3):
        selection = draw(structure, 0.5, seed)
        pruned = remove(network, structure, selection)
        inputs = example_inputs(network, 1 if structure.merges_batch(network) else 3, seed)
        assert self_check(network, pruned, structure, selection, inputs) < 1e-5
        assert (pruned(*inputs)[0] - network(*inputs)[0]).abs().max() > 1e-4
        assert structure.cost(selection).params == pruned.parameter_count()


def prunable(name: str) -> dict[str, int]:
    network = network_of(name)
    return {layer.name: layer.prunable for layer in analyze(network, example_inputs(network)).layers}


@pytest.mark.parametrize(
    "name",
    [
        *("uneven split", "repeated part", "joined with the input", "padded channels", "parameter over channels"),
        *("flatten and back", "computed sizes", "prelu", "spatial attention", "upsampling", "transposed convolution"),
        *(
            "channel shuffle",
            "stack and sum",
            "stack and unbind",
            "matrix product",
            "where",
            "parameter over positions",
        ),
        *("axis added and dropped", "moved axes", "rolled and flipped image", "variance over positions"),
        *("largest over positions", "log softmax over positions", "running sum over positions"),
    ],
)
def test_the_pattern_does_not_stand_in_the_way(name: str) -> None:
    assert prunable(name)["a"] == 16
    assert prunable(name)["b"] == 16


def test_a_softmax_over_channels_keeps_them() -> None:
    assert prunable("softmax over channels") == {"a": 0, "b": 16, "head": 0}


def test_a_picked_channel_stays_and_the_others_are_free() -> None:
    assert prunable("one channel picked")["a"] == 14
