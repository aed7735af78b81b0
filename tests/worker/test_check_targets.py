"""The targets against the files that are shipped, when these are not what the search had found."""

import pytest
import torch
from torch import nn

from service.contract.recipe import Target
from tests.worker.graph.test_normalization import traced
from worker.errors import TargetUnreachable
from worker.export.onnx import write_onnx
from worker.pruning.plan import Plan, TargetPlan
from worker.stages.export import Exported
from worker.stages.targets import check_targets


def plan(**reached: float) -> Plan:
    targets = [TargetPlan(name=name, asked=value, reached=value, limit=value) for name, value in reached.items()]
    return Plan(
        steps=[], complete=True, requested_macs=None, requested_params=None, dense_macs=2.0, dense_params=2.0,
        macs=1.0, params=1.0, layers=[], targets=targets,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Dense and pruned are the same."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5))
    write_onnx(traced(module.eval()), folder / "model.onnx")
    return Exported(folder / "model.onnx", folder / "model.pt2", folder / "model.onnx")


def test_a_file_that_is_larger_than_asked_fails_with_its_size(exported: Exported) -> None:
    size = exported.onnx.stat().st_size
    with pytest.raises(TargetUnreachable, match=f"size_bytes {size - 1} was asked and the exported model has {size}"):
        check_targets(Target(size_bytes=size - 1), plan(size_bytes=size - 1), exported, None)
    (result,) = check_targets(Target(size_bytes=size), plan(size_bytes=size), exported, None)
    assert (result.reached, result.met) == (size, True)


def test_a_model_that_is_not_as_fast_as_asked_fails_with_its_interval(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.export.latency._MOST_ROUNDS", 2)
    with pytest.raises(TargetUnreachable, match=r"speedup 50 was asked .* \(95 % interval .* became busy"):
        check_targets(Target(speedup=50), plan(speedup=50), exported, None)
