"""An inspection answers with the profile of a model or a dataset, or with the refusal of its reader."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service.contract.resources import DatasetProfile, ModelProfile
from worker.errors import UnsafeModel
from worker.inspection import inspect
from worker.order import ChildLimits, InspectOrder, UploadFile

LIMITS = ChildLimits(
    memory_bytes=1 << 32,
    cpu_seconds=600,
    file_bytes=1 << 30,
    dataset_bytes=1 << 30,
    model_nodes=1000,
    threads=1,
    device="cpu",
)


def order(kind: str, path: Path) -> InspectOrder:
    upload = {"id": "mdl_1", "name": "upload", "sha256": "0" * 64, "path": path}
    return InspectOrder.model_validate({"kind": kind, "upload": UploadFile(**upload), "limits": LIMITS})


def test_a_model_is_described(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 2)).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    profile = inspect(order("model", tmp_path / "model.pt2"))
    assert isinstance(profile, ModelProfile)
    assert profile.inputs[0].shape == ["batch", 3, 8, 8]
    assert profile.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert profile.macs == 16 * 27 * 36 + 576 * 2


def test_a_dataset_is_described(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 3)), labels=np.array([0, 1, 1, 1]))
    profile = inspect(order("dataset", tmp_path / "data.npz"))
    assert isinstance(profile, DatasetProfile)
    assert profile.class_counts == [1, 3]


def test_a_refusal_reaches_the_caller(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UnsafeModel, match=r"written by torch\.save"):
        inspect(order("model", tmp_path / "model.pt"))
