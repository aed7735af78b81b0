"""Candidates, written and run: what a target that can only be predicted really comes to."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from service.contract.recipe import Target
from service.contract.report import LatencyRow
from worker.export.latency import compare_single, speedup
from worker.export.onnx import write_onnx
from worker.graph.network import Network
from worker.pruning.goals import GoalName
from worker.reporter import Reporter

__all__ = ["Reading", "Trial", "readings"]


@dataclass(frozen=True)
class Reading:
    """What was measured of a candidate, by goal, in absolute terms: the middle, and the end of the 95 % interval that
    speaks against it. A size has no interval."""

    middle: dict[GoalName, float]
    worst: dict[GoalName, float]


class Trial:
    """Writes networks as ONNX into `folder`, weighs the files and runs them in turns with the dense one."""

    def __init__(self, dense: Network, target: Target, opset: int, folder: Path, reporter: Reporter) -> None:
        self._network, self._speed = dense, bool({"latency", "speedup"} & set(target.asked))
        self._opset, self._folder, self._reporter = opset, folder, reporter

    @cached_property
    def dense_ms(self) -> float:
        """What the dense network takes."""
        self._reporter.event("log", "timing the dense model in ONNX Runtime")
        return compare_single(self._dense, self._dense).dense_ms

    @cached_property
    def _dense(self) -> Path:
        path = self._folder / "dense.onnx"
        write_onnx(self._network, path, self._opset)
        return path

    def __call__(self, network: Network) -> Reading:
        """`network` must be a copy of its own: equal tensors are made to differ, for exporters store those once."""
        path = self._folder / "candidate.onnx"
        _tell_apart(network)
        write_onnx(network, path, self._opset)
        middle: dict[GoalName, float] = {"size_bytes": path.stat().st_size}
        worst = dict(middle)
        if self._speed:
            row = compare_single(self._dense, path)
            for name, (typical, against) in readings(row, self.dense_ms).items():
                middle[name], worst[name] = typical, against
        path.unlink()
        times = f", {middle['latency']:.3g} ms, {self.dense_ms / middle['speedup']:.2f}x" if self._speed else ""
        self._reporter.event("log", f"candidate: {middle['size_bytes']:.0f} bytes{times}")
        return Reading(middle, worst)


def readings(row: LatencyRow, dense_ms: float) -> dict[GoalName, tuple[float, float]]:
    """(middle, unfavourable end) in milliseconds; those of a speedup as if the dense model took `dense_ms`."""
    faster = speedup(row)
    return {
        "latency": (row.pruned_ms, row.pruned_ci95_ms[1] if row.pruned_ci95_ms else row.pruned_iqr_ms[1]),
        "speedup": (dense_ms / faster.middle, dense_ms / faster.low),
    }


def _tell_apart(network: Network) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in network.parameters():
            parameter.add_(1e-3 * torch.randn(parameter.shape, generator=generator).to(parameter.device))
