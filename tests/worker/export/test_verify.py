"""Accuracy of the file as ONNX Runtime computes it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.formats.onnx.reading import LIMITS
from worker.data.batches import Batch
from worker.export.onnx import write_onnx
from worker.export.verify import verify_onnx
from worker.formats.onnx import read_onnx


class TestSplit:
    """The 2,000 test images, normalised as the model was trained."""

    __test__ = False

    def __init__(self, file: Path) -> None:
        data = np.load(file)
        mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
        images = (data["x_test"].astype(np.float32) / 255 - mean) / std
        self.images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        self.labels = torch.from_numpy(data["y_test"])

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for rows in torch.arange(len(self)).split(batch_size):
            yield Batch((self.images[rows],), self.labels[rows], rows)


def test_trained_network_keeps_its_accuracy_through_reading_and_writing(shared_data: Path, tmp_path: Path) -> None:
    network = read_onnx(shared_data / "models" / "resnet20.onnx", LIMITS)
    path = tmp_path / "model.onnx"
    write_onnx(network, path)
    check = verify_onnx(path, network, TestSplit(shared_data / "cifar10-dev.npz"))
    assert check.accuracy == pytest.approx(91.75)
    assert check.agrees_with_torch == 100.0
    assert check.predictions is not None
    assert check.predictions.logits.shape == (2000, 10)
    assert check.predictions.rows.tolist() == list(range(2000))
