"""Images, the training that all methods share, and what is measured at its end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from service.contract.recipe import Input
from worker.data.dataset import Dataset
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.order import ChildLimits
from worker.training.evaluation import predict
from worker.training.mode import set_mode
from worker.training.weights import copy_network

__all__ = ["EPOCHS", "LEARNING_RATE", "Bench", "Split", "load", "recalls", "train_plainly"]

Split = Literal["test", "tuning"]
"""`test`: train on all training images, measure on the test images. `tuning`: hold a fifth of the training images out
and measure on these; the only split that a decision may look at."""

EPOCHS, BATCH = 2, 128
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
CALIBRATION = 2560

_INPUT = Input(layout="nhwc", scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
_LIMITS = ChildLimits(
    memory_bytes=2**33, cpu_seconds=600, file_bytes=2**30, dataset_bytes=2**30,
    model_nodes=10_000, threads=1, device="cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """ResNet-20 with the weights of the file, and the two parts of the data."""

    dense: Network
    train: SplitSamples
    held_out: SplitSamples
    class_names: tuple[str, ...]

    def calibration(self, seed: int) -> SplitSamples:
        """The training images that criteria see, drawn by the seed: as many as a job takes by default."""
        rows = np.random.default_rng(seed).permutation(self.train.rows)[:CALIBRATION]
        return SplitSamples(self.train.dataset, rows, self.train.transform, "classification")


def load(folder: Path, split: Split) -> Bench:
    """`folder` holds `models/resnet20.pt2` and `cifar10-dev.npz` (`x_train`, `y_train`, `x_test`, `y_test`: uint8 NHWC
    and labels, `class_names`)."""
    network = read_pt2(folder / "models" / "resnet20.pt2", _LIMITS)
    with np.load(folder / "cifar10-dev.npz") as file:
        images = np.concatenate([file["x_train"], file["x_test"]])
        labels = np.concatenate([file["y_train"], file["y_test"]]).astype(np.int64)
        trained, names = len(file["x_train"]), tuple(str(name) for name in file["class_names"])
    dataset = Dataset(
        format="npz", arrays={"x": images}, labels=labels, split=None, groups=None, class_names=None, group_names=None
    )
    transform = InputTransform.build(_INPUT, dataset, network.inputs)
    train, held_out = np.arange(trained), np.arange(trained, len(images))
    if split == "tuning":
        shuffled = np.random.default_rng(12).permutation(trained)
        train, held_out = np.sort(shuffled[trained // 5 :]), np.sort(shuffled[: trained // 5])
    parts = (SplitSamples(dataset, rows, transform, "classification") for rows in (train, held_out))
    return Bench(network, *parts, names)


def train_plainly(network: Network, bench: Bench, seed: int) -> Network:
    """The fine-tuning of table (a), the same for every network: labels only, SGD, cosine from 0.01 to 0, flip and
    crop, two epochs, the last one counts. Order and views depend on the seed alone."""
    student = copy_network(network)
    set_mode(student.module, training=True)
    optimizer = torch.optim.SGD(
        student.module.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    updates = EPOCHS * bench.train.train_batch_count(BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for batch in bench.train.train_batches(BATCH, generator, ("flip", "crop")):
            assert batch.labels is not None
            loss = functional.cross_entropy(student(*batch.inputs)[0], batch.labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    set_mode(student.module, training=False)
    return student


def recalls(network: Network, bench: Bench) -> tuple[float, list[float]]:
    """Accuracy over the held-out images, and recall of every class, per cent."""
    found = predict(network, bench.held_out)
    assert found.labels is not None
    right = found.logits.argmax(1) == found.labels
    by_class = [float(right[found.labels == number].mean()) for number in range(len(bench.class_names))]
    return 100 * float(right.mean()), [100 * recall for recall in by_class]
