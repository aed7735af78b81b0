"""One data-free job in a process of its own, and the memory that each of its stages takes.

    python benchmarks/_scale_job.py MODEL FOLDER [RECIPE] → JSON on the last line

Prints bytes: `base` is what the process holds after a small job of the same kind (imports, caches of torch), `file` the
size of the model, `stages` the peak of each stage above `base`.
"""

import hashlib
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks._scale_networks import DEEP
from service.contract.recipe import Recipe
from service.contract.resolve import resolve
from service.contract.resources import ModelProfile
from worker.export.onnx import write_onnx
from worker.export.pt2 import write_pt2
from worker.inspection import inspect
from worker.order import ChildLimits, InspectOrder, JobOrder, UploadFile
from worker.pipeline import run
from worker.reporter import Silent

LIMITS = ChildLimits(
    memory_bytes=2**35, cpu_seconds=6000, file_bytes=2**33, dataset_bytes=2**30,
    model_nodes=100_000, threads=1, device="cpu",
)  # fmt: skip


class Watching(Silent):
    """Notes the peak of resident memory of every stage."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self._stage, self._since = "", time.perf_counter()

    def stage(self, name: str) -> None:
        self.close()
        self._stage, self._since = name, time.perf_counter()

    def close(self) -> None:
        if self._stage:
            self.peaks[self._stage] = resident("VmHWM")
            self.seconds[self._stage] = time.perf_counter() - self._since
        forget_peak()


def resident(field: str) -> int:
    """Bytes: `VmRSS` is what the process holds, `VmHWM` the most it has held since `forget_peak`."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def job(model: Path, folder: Path, recipe: dict[str, Any], watching: Silent) -> Any:
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    upload = UploadFile(id="mdl", name="model", sha256=digest, path=model)
    profile = inspect(InspectOrder(kind="model", upload=upload, limits=LIMITS))
    assert isinstance(profile, ModelProfile)
    resolved = resolve(Recipe.model_validate(recipe), profile, None).recipe
    work, output = folder / "work", folder / "output"
    work.mkdir(parents=True)
    output.mkdir()
    order = JobOrder(
        job_id="job", attempt=1, model=upload, dataset=None, recipe=resolved,
        work_dir=work, output_dir=output, limits=LIMITS,
    )  # fmt: skip
    return run(order, watching)


def main(model: Path, folder: Path, recipe: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as small:
        first = Path(small) / f"small{model.suffix}"
        (write_onnx if model.suffix == ".onnx" else write_pt2)(DEEP["transformer"](72), first)
        job(first, Path(small) / "job", {**recipe, "target": {"params": 0.9}}, Silent())
    base = resident("VmRSS")
    watching = Watching()
    forget_peak()
    start = time.perf_counter()
    outcome = job(model, folder, recipe, watching)
    watching.close()
    print(
        json.dumps(
            {
                "file": model.stat().st_size,
                "base": base,
                "stages": {stage: peak - base for stage, peak in watching.peaks.items()},
                "seconds": watching.seconds,
                "wall": time.perf_counter() - start,
                "params": outcome.result.params_ratio,
            }
        )
    )


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        json.loads(sys.argv[3]) if len(sys.argv) > 3 else {"target": {"params": 0.5}},
    )
