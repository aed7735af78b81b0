"""Jobs with targets in time. A job guarantees them or fails; how fast this machine is decides nothing here."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.digits import DigitsNet, digits, exported
from tests.worker.test_sparse_job import LIMITS
from tests.worker.test_target_job import finished, results
from worker.errors import TargetUnreachable
from worker.export.latency import compare_single
from worker.export.onnx import write_onnx
from worker.export.pt2 import write_pt2
from worker.formats.pt2 import read_pt2
from worker.order import UploadFile

Uploads = tuple[UploadFile, UploadFile]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Uploads:
    """A network that takes long enough to be timed."""
    folder = tmp_path_factory.mktemp("wide")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        write_pt2(exported(DigitsNet(96), torch.randn(2, 1, 8, 8)), folder / "wide.pt2")
    np.savez(folder / "digits.npz", x=digits().arrays["x"], y=digits().labels)
    return tuple(UploadFile(id=name, name=name, sha256=name, path=folder / name) for name in ("wide.pt2", "digits.npz"))  # type: ignore[return-value]  # two of them


def prune(round_to: int) -> dict[str, object]:
    return {"criterion": "magnitude", "round_to": round_to, "schedule": {"kind": "one_shot"}}


def test_a_speedup_is_measured_and_met_together_with_macs(wide: Uploads, tmp_path: Path) -> None:
    report = finished(wide, tmp_path, {"speedup": 1.5, "macs": 0.8}, prune=prune(32))
    found = results(report)
    speedup = found["speedup"]
    assert speedup.ci95 is not None
    assert 1.5 <= speedup.ci95[0] <= speedup.reached <= speedup.ci95[1]
    assert speedup.limit is not None
    assert speedup.limit >= speedup.reached
    assert found["macs"].reached <= 0.8


@pytest.mark.slow
def test_a_latency_is_measured_and_met(wide: Uploads, tmp_path: Path) -> None:
    write_onnx(read_pt2(wide[0].path, LIMITS), tmp_path / "dense.onnx")
    dense = compare_single(tmp_path / "dense.onnx", tmp_path / "dense.onnx").dense_ms
    # Steps of half a layer leave so much room that another load on the machine does not matter.
    found = results(finished(wide, tmp_path, {"latency": 0.9 * dense}, prune=prune(96)))["latency"]
    assert found.ci95 is not None
    assert found.ci95[0] <= found.reached <= found.ci95[1] <= 0.9 * dense


def test_times_that_cannot_be_reached_fail_with_those_that_can(wide: Uploads, tmp_path: Path) -> None:
    said = r"latency 1e-06 ms was asked and \d[\d.]* ms can be .*; speedup 900 was asked and \d+\.\d\d can be reached"
    with pytest.raises(TargetUnreachable, match=said):
        finished(wide, tmp_path, {"latency": 1e-6, "speedup": 900}, prune=prune(8))
