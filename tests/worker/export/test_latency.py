"""The shape of a latency measurement. How long things take is not tested: machines differ."""

from pathlib import Path

import torch
from torch import nn

from tests.worker.graph.test_normalization import traced
from worker.export.latency import measure_latency
from worker.export.onnx import write_onnx


def test_every_batch_size_is_measured_with_one_and_with_all_threads(tmp_path: Path) -> None:
    for name, width in (("dense", 64), ("pruned", 8)):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(width * 100, 5))
        write_onnx(traced(module.eval()), tmp_path / name)
    rows = measure_latency(tmp_path / "dense", tmp_path / "pruned", threads=2, batches=(1, 4), seconds_per_cell=0.05)
    assert [(row.threads, row.batch) for row in rows] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    for row in rows:
        assert row.runs >= 5
        assert row.ratio == row.pruned_ms / row.dense_ms
        assert row.dense_iqr_ms[0] <= row.dense_ms <= row.dense_iqr_ms[1]
        assert row.pruned_iqr_ms[0] <= row.pruned_ms <= row.pruned_iqr_ms[1]
