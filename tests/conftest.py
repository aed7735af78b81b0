"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# As in the worker (`worker.__main__`), and before anything imports torch: threads wait without spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


pytest_plugins = ["tests.postgresql"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data and trained models, kept outside the repository. Tests that need them skip where they are absent."""
    folder = Path(os.environ.get("SECATEUR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "cifar10-dev.npz").is_file():
        pytest.skip(f"no evaluation data at {folder}; set SECATEUR_TEST_DATA")
    return folder
