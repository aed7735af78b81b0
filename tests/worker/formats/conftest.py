"""Limits for readers, and a small exported network that the hostile tests take apart."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.worker.formats.archives import Members, members_of
from worker.order import ChildLimits

MIB = 1 << 20


@pytest.fixture(scope="session")
def limits() -> ChildLimits:
    return ChildLimits(
        memory_bytes=4096 * MIB,
        cpu_seconds=600,
        file_bytes=64 * MIB,
        dataset_bytes=16 * MIB,
        model_nodes=500,
        threads=1,
        device="cpu",
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.pt2` as torch writes it: convolution, batch norm, linear."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    program = torch.export.export(module, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    path = tmp_path_factory.mktemp("plain") / "plain.pt2"
    torch.export.save(program, path)
    return path


@pytest.fixture
def members(plain: Path) -> Members:
    """The members of `plain`, by name, to be changed and written again."""
    return members_of(plain)


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A file that every payload of the hostile tests would create if its code ran."""
    return tmp_path / "code-has-run"
