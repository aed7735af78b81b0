"""Real photos and a network trained on them, from the shared evaluation data."""

from pathlib import Path

import numpy as np

from service.contract.recipe import Input
from tests.worker.data.datasets import dataset
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.order import ChildLimits

__all__ = ["photo_samples", "resnet20"]


def resnet20(shared_data: Path) -> Network:
    limits = ChildLimits(
        memory_bytes=1 << 34,
        cpu_seconds=600,
        file_bytes=1 << 30,
        dataset_bytes=1 << 30,
        model_nodes=10_000,
        threads=1,
        device="cpu",
    )
    return read_pt2(shared_data / "models" / "resnet20.pt2", limits)


def photo_samples(shared_data: Path, network: Network, every: int = 1) -> SplitSamples:
    """Every so many of the 2,000 test photos, normalised as the README beside them says."""
    with np.load(shared_data / "cifar10-dev.npz") as arrays:
        data = dataset(x=arrays["x_test"], labels=arrays["y_test"])
    declared = Input(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    transform = InputTransform.build(declared, data, network.inputs)
    return SplitSamples(data, np.arange(0, len(data), every), transform, "classification")
