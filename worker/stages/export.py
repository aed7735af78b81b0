"""export and verify: write the files a user deploys, run them, and time them."""

from dataclasses import dataclass
from pathlib import Path

from service.contract.recipe import Export
from service.contract.report import ExportCheck, FileSize, LatencyRow
from worker.export.latency import measure_latency
from worker.export.onnx import write_onnx
from worker.export.pt2 import write_pt2
from worker.export.verify import verify_onnx
from worker.graph.network import Network
from worker.stages.load import Data

__all__ = ["Exported", "Verified", "export", "verify"]


@dataclass(frozen=True)
class Exported:
    """`onnx` and `pt2` are the pruned network; sizes and times compare to `dense_onnx`, written the same way."""

    onnx: Path
    pt2: Path
    dense_onnx: Path

    @property
    def sizes(self) -> tuple[FileSize, FileSize]:
        """Of the pruned and of the dense ONNX file."""
        pruned, dense = (
            FileSize(name=path.name, size_bytes=path.stat().st_size) for path in (self.onnx, self.dense_onnx)
        )
        return pruned, dense


@dataclass(frozen=True)
class Verified:
    """What ONNX Runtime says about the file."""

    check: ExportCheck
    latency: list[LatencyRow]


def export(pruned: Network, dense: Network, settings: Export, output: Path, scratch: Path) -> Exported:
    """Write `model.onnx` and `model.pt2` into `output`, and the dense reference into `scratch`."""
    files = Exported(output / "model.onnx", output / "model.pt2", scratch / "dense.onnx")
    write_onnx(pruned, files.onnx, settings.opset)
    write_onnx(dense, files.dense_onnx, settings.opset)
    write_pt2(pruned, files.pt2)
    return files


def verify(files: Exported, pruned: Network, data: Data | None, settings: Export, threads: int) -> Verified:
    """Compare the file with the network, and its speed with that of the dense model.

    Raises ExportMismatch when ONNX Runtime does not answer like torch.
    """
    checked = verify_onnx(files.onnx, pruned, data.confirm if data else None, threads)
    latency = measure_latency(files.dense_onnx, files.onnx, threads) if settings.latency else []
    check = ExportCheck(
        opset=checked.opset,
        max_abs_error=checked.max_abs_error,
        max_rel_error=checked.max_rel_error,
        accuracy=checked.accuracy,
        agrees_with_torch=checked.agrees_with_torch,
    )
    return Verified(check, latency)
