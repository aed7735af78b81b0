"""export and verify: write the files a user deploys, run them, and time them."""

from dataclasses import dataclass, replace
from pathlib import Path

from service.contract.recipe import Export
from service.contract.report import ExportCheck, FileSize, LatencyRow
from worker.export.compress import compress
from worker.export.latency import measure_latency
from worker.export.onnx import data_beside, write_onnx
from worker.export.pt2 import write_pt2
from worker.export.verify import verify_onnx
from worker.graph.network import Network
from worker.graph.tensors import tensors_of
from worker.stages.load import Data

__all__ = ["Exported", "export", "measure", "verify"]


_LARGE = 64 * 2**20
"""ONNX Runtime maps weights beside a file into its memory and copies those inside: the reference needs no copies."""


@dataclass(frozen=True)
class Exported:
    """`onnx` and `pt2` are the pruned network; sizes and times compare to `dense_onnx`, written the same way. Where
    weights were set to zero, `zst` and `dense_zst` are the two ONNX files compressed."""

    onnx: Path
    pt2: Path
    dense_onnx: Path
    zst: Path | None = None
    dense_zst: Path | None = None

    @property
    def sizes(self) -> tuple[FileSize, FileSize]:
        """Of the pruned and of the dense ONNX file."""
        return _size(self.onnx), _size(self.dense_onnx)

    @property
    def compressed_sizes(self) -> tuple[FileSize | None, FileSize | None]:
        """Of the pruned and of the dense ONNX file, compressed."""
        return _size(self.zst) if self.zst else None, _size(self.dense_zst) if self.dense_zst else None


def _size(path: Path) -> FileSize:
    """Of the file, with the weights that are beside it where it is too large to hold them."""
    data = data_beside(path)
    outside = data.stat().st_size if data.exists() else 0
    return FileSize(name=path.name, size_bytes=path.stat().st_size + outside)


def export(
    pruned: Network, dense: Network, settings: Export, output: Path, scratch: Path, *, sparse: bool = False
) -> Exported:
    """Write `model.onnx` and `model.pt2` into `output`, and the dense reference into `scratch`. A network with zeros is
    written as `model.onnx.zst` too, which is where they save something."""
    files = Exported(output / "model.onnx", output / "model.pt2", scratch / "dense.onnx")
    write_onnx(pruned, files.onnx, settings.opset)
    large = sum(tensor.nbytes for tensor in tensors_of(dense.module).values()) > _LARGE
    write_onnx(dense, files.dense_onnx, settings.opset, outside=large and not sparse)
    write_pt2(pruned, files.pt2)
    if not sparse:
        return files
    files = replace(files, zst=output / "model.onnx.zst", dense_zst=scratch / "dense.onnx.zst")
    for source, target in ((files.onnx, files.zst), (files.dense_onnx, files.dense_zst)):
        assert target is not None
        compress(source, target)
    return files


def verify(files: Exported, pruned: Network, data: Data | None, threads: int) -> ExportCheck:
    """Compare the file with the network. Raises ExportMismatch when ONNX Runtime does not answer like torch."""
    checked = verify_onnx(files.onnx, pruned, data.confirm if data else None, threads)
    return ExportCheck(
        opset=checked.opset,
        max_abs_error=checked.max_abs_error,
        max_rel_error=checked.max_rel_error,
        accuracy=checked.accuracy,
        agrees_with_torch=checked.agrees_with_torch,
    )


def measure(files: Exported, settings: Export, threads: int) -> list[LatencyRow]:
    """The speed of the file and of that of the dense model, side by side. ONNX Runtime holds both models meanwhile."""
    return measure_latency(files.dense_onnx, files.onnx, threads) if settings.latency else []
