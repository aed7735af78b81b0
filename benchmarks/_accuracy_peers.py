"""Torch-Pruning on ResNet-20, driven as its `reproduce/main.py` does: many small steps until the MACs are reached.

Torch-Pruning takes a padded shortcut for an element-wise op and leaves a network that does not run. So the two padded
shortcuts are replaced by convolutions of zeros and ones that compute the same; they are part of what it prunes, of what
is trained, and of what its MACs are counted of. What it keeps is then cut out of the same network by Secateur's
surgery and compared with Torch-Pruning's own module, so that everything after the choice is one code for all methods.
"""

import copy
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch_pruning
from _accuracy_data import Bench
from torch import Tensor, nn
from torch.nn import functional

from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.graph.traced import from_exported
from worker.training.weights import weights_of

__all__ = ["METHODS", "dense_of", "trajectory"]

_STEPS = 400
_BATCH = 128
_TOLERANCE = 1e-4

METHODS = {
    "tp-magnitude": (torch_pruning.importance.MagnitudeImportance, True),
    "tp-magnitude-local": (torch_pruning.importance.MagnitudeImportance, False),
    "tp-taylor": (torch_pruning.importance.TaylorImportance, True),
    "tp-taylor-local": (torch_pruning.importance.TaylorImportance, False),
    "tp-group-norm": (torch_pruning.importance.GroupMagnitudeImportance, True),
    "tp-random": (torch_pruning.importance.RandomImportance, True),
}
"""Class of the importance, and whether channels compete across layers. All with their defaults."""


class _Block(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else _padding_as_convolution(before, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def _padding_as_convolution(before: int, width: int) -> nn.Conv2d:
    """Every other pixel, and channels of zeros on both sides."""
    convolution = nn.Conv2d(before, width, 1, 2, bias=False)
    nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        for channel in range(before):
            convolution.weight[channel + (width - before) // 2, channel] = 1
    return convolution


class ResNet20(nn.Module):
    """The names are those of the `.pt2`, so that its weights load; the shortcuts bring their own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(_Block(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3 = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def module_of(bench: Bench) -> ResNet20:
    """The dense network with convolutions for shortcuts. Its logits are compared with those of the file."""
    module = ResNet20().eval()
    missing = module.load_state_dict(weights_of(bench.dense), strict=False)
    left = [name for name in missing.missing_keys if not name.endswith(("num_batches_tracked", "shortcut.weight"))]
    assert not left, left
    assert not missing.unexpected_keys, missing.unexpected_keys
    images = next(bench.train.batches(64)).inputs[0]
    with torch.no_grad():
        difference = float((module(images) - bench.dense(images)[0]).abs().max())
    assert difference < _TOLERANCE, f"logits of the file and of the module differ by {difference:.1e}"
    return module


def dense_of(bench: Bench) -> Network:
    """What `module_of` makes, as a network: what Torch-Pruning's choices are cut out of."""
    batch = torch.export.Dim("batch")
    program = torch.export.export(module_of(bench), (torch.randn(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    return from_exported(program)


def trajectory(method: str, bench: Bench, seed: int, bounds: list[float]) -> Iterator[Selection]:
    """What is kept of `dense_of` the first time that its MACs are at or below each of `bounds`, which fall.

    Taylor takes its gradients once, over the calibration images, in inference mode. Raises RuntimeError where all
    steps do not reach a bound.
    """
    torch.manual_seed(seed)
    original = module_of(bench)
    network = dense_of(bench)
    structure = analyze(network, example_inputs(network))
    importance, across_layers = METHODS[method]
    module = copy.deepcopy(original)
    kind = torch_pruning.pruner.GroupNormPruner if method == "tp-group-norm" else torch_pruning.pruner.BasePruner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = kind(
            module, torch.randn(1, 3, 32, 32), importance=importance(), global_pruning=across_layers, pruning_ratio=1.0,
            iterative_steps=_STEPS, ignored_layers=[module.linear],
        )  # fmt: skip
    if "taylor" in method:
        for batch in bench.calibration(seed).batches(_BATCH):
            functional.cross_entropy(module(batch.inputs[0]), batch.labels).backward()
    waiting = list(bounds)
    for _ in range(_STEPS):
        pruner.step()
        selection = _kept(module, original, structure)
        while waiting and structure.cost(selection).macs <= waiting[0]:
            waiting.pop(0)
            _check(module, remove(network, structure, selection), bench)
            yield selection
        if not waiting:
            return
    raise RuntimeError(f"{method} did not reach {waiting} MACs in {_STEPS} steps")


def _kept(pruned: nn.Module, dense: nn.Module, structure: Structure) -> Selection:
    """Which components are left, told by the statistics of the batch norms: pruning does not change them, and no two
    channels of a layer share theirs."""
    selection = np.zeros(structure.component_count + 1, dtype=np.bool_)
    selection[0] = True
    norms = {name.replace("bn", "conv"): norm for name, norm in dense.named_modules() if ".bn" in f".{name}"}
    left = dict(pruned.named_modules())
    for layer in structure.layers:
        if layer.slot is None or layer.name not in norms:
            continue
        numbers = structure.slots[layer.slot].numbers
        whole = norms[layer.name].running_mean
        kept = torch.isin(whole, left[layer.name.replace("conv", "bn")].running_mean).numpy()
        selection[numbers[kept]] = True
    for block in structure.blocks:
        selection[block.component] = True
    return selection


def _check(module: nn.Module, network: Network, bench: Bench) -> None:
    images = next(bench.train.batches(64)).inputs[0]
    with torch.no_grad():
        wanted = module(images)
        difference = float((network(images)[0] - wanted).abs().max() / wanted.abs().max())
    assert difference < _TOLERANCE, f"Torch-Pruning's module and the network cut like it differ by {difference:.1e}"
