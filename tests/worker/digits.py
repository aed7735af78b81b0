"""Real data and a real network in seconds: the 1,797 handwritten digits of scikit-learn."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from service.contract.recipe import Finetune, Input
from worker.data.dataset import Dataset
from worker.data.split_samples import SplitSamples
from worker.data.splits import Splits, make_splits
from worker.data.transform import InputTransform
from worker.graph.network import Network
from worker.graph.traced import from_exported
from worker.training.checkpoint import CheckpointStore
from worker.training.loop import finetune

__all__ = [
    "DIGITS_INPUT",
    "DigitsNet",
    "digits",
    "digits_samples",
    "digits_splits",
    "exported",
    "trained_digits",
    "untrained_digits",
]

# Pixels are 0 to 16.
DIGITS_INPUT = Input(scale=1 / 16, mean=[0.3], std=[0.35])


class DigitsNet(nn.Module):
    """Two convolutions with batch norm, dropout, a classifier: 10 logits from (batch, 1, 8, 8)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(2 * width * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.head(self.dropout(x))


def exported(module: nn.Module, *examples: Tensor) -> Network:
    """The network of a module, with a free batch dimension."""
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} for _ in examples)
    return from_exported(torch.export.export(module.eval(), examples, dynamic_shapes=shapes))


@cache
def digits() -> Dataset:
    """Grey images (1797, 8, 8) of uint8, in the order of scikit-learn, without a split."""
    images, labels = load_digits(return_X_y=True)
    return Dataset(
        format="npz",
        arrays={"x": images.reshape(-1, 8, 8).astype(np.uint8)},
        labels=labels.astype(np.int64),
        split=None,
        groups=None,
        class_names=None,
        group_names=None,
    )


@cache
def digits_splits() -> Splits:
    return make_splits(digits(), calibration_samples=400, seed=0)


def digits_samples(split: str) -> SplitSamples:
    """A split by name, ready for a DigitsNet."""
    network = untrained_digits()
    transform = InputTransform.build(DIGITS_INPUT, digits(), network.inputs)
    return SplitSamples(digits(), getattr(digits_splits(), split).rows, transform, "classification")


@cache
def untrained_digits() -> Network:
    """A DigitsNet with its first weights. Shared between tests: copy before you change it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return exported(DigitsNet(), torch.randn(2, 1, 8, 8))


@cache
def trained_digits() -> Network:
    """A DigitsNet that reads most digits. Shared between tests: copy before you change it."""
    settings = Finetune(epochs=10, batch_size=64, learning_rate=0.1, augment=[], distill=None)
    with TemporaryDirectory() as folder:
        trained = finetune(
            untrained_digits(),
            None,
            digits_samples("train"),
            digits_samples("tuning"),
            settings,
            "classification",
            seed=0,
            arm="twin",
            checkpoints=CheckpointStore(Path(folder)),
        )
    return trained.network
