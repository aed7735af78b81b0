"""What half the MACs is worth in ONNX Runtime: speed-up ÷ MACs ratio. Bars: at least 0.8, and never slower than dense.

python benchmarks/speedup.py [--only PATTERN ...] [--runs N] [--size PIXELS] [--plot FILE]

Shapes of well-known networks with random weights, so that what is measured is the allocation and not what training has
made of it. Pruned by the engine to half the MACs: with the defaults of a recipe without data; with `round_to` 1, the
control for blocks of eight, and 16, which is as wide as the vectors of AVX-512; with the criterion `random`, the
control for the choice. Each is written as ONNX like a job writes it and timed in turns with the dense file, on one
thread, by the CPU time of the thread that runs it. A cell is the median over the turns of dense ÷ pruned with its 95 %
interval.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _clock import median_interval
from _machine import describe, missing, skipped
from _plots import Interval, intervals

from service.contract.recipe import Prune, Target
from tests.worker.zoo_example import Example, made
from tests.worker.zoo_real import vision
from worker.export.onnx import write_onnx
from worker.export.session import open_session
from worker.graph.network import Network
from worker.graph.traced import from_exported
from worker.pruning.prune import Pruned, prune
from worker.reporter import Silent

HALF = Target(macs=0.5)
BATCHES = (1, 32)
RECIPES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "round_to 16": {"round_to": 16},
    "round_to 1": {"round_to": 1},
    "random": {"criterion": "random"},
}


def shapes(size: int) -> dict[str, Callable[[], Example]]:
    """ViT-B/16 has 12 layers; four of them have the same ratios."""
    return {
        "resnet18": vision("resnet18", size),
        "resnet50": vision("resnet50", size),
        "mobilenet_v2": vision("mobilenet_v2", size),
        "vit_b_16, 4 layers": _vit(size),
    }


def _vit(size: int) -> Callable[[], Example]:
    def make() -> torch.nn.Module:
        vision("resnet18")  # declares the ops that torchvision wants
        from torchvision.models import VisionTransformer

        network = VisionTransformer(size, 16, 4, 12, 768, 3072)
        torch.nn.init.normal_(network.heads[-1].weight, std=0.05)  # zeros, which would answer everything alike
        return network

    return made(make, lambda: (torch.randn(2, 3, size, size),))


@dataclass(frozen=True)
class Cell:
    """`fewer` is the ratio of MACs, `faster` (median, low, high) that of times; dense ÷ pruned."""

    network: str
    recipe: str
    batch: int
    fewer: float
    faster: tuple[float, float, float]
    dense_ms: float

    @property
    def worth(self) -> tuple[float, float, float]:
        median, low, high = self.faster
        return median / self.fewer, low / self.fewer, high / self.fewer


def pruned_by(network: Network, recipe: dict[str, Any]) -> Pruned:
    return prune(network, Prune.model_validate(recipe), HALF, None, "unlabelled", 0, Silent())


def timed(dense: Path, pruned: Path, batch: int, size: int, runs: int) -> tuple[list[float], list[float]]:
    """Milliseconds of both, turn by turn, swapping who goes first."""
    sessions = [open_session(path, threads=1) for path in (dense, pruned)]
    name = sessions[0].get_inputs()[0].name
    feed = {name: np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)}
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(-1, runs):
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.thread_time()
            sessions[which].run(None, feed)
            if turn >= 0:
                times[which].append(1e3 * (time.thread_time() - start))
    return times


def measure(name: str, make: Callable[[], Example], size: int, runs: int, folder: Path) -> list[Cell]:
    network = from_exported(make().exported())
    dense = folder / "dense.onnx"
    write_onnx(network, dense)
    cells = []
    for label, recipe in RECIPES.items():
        done = pruned_by(network, recipe)
        path = folder / "pruned.onnx"
        write_onnx(done.network, path)
        for batch in BATCHES:
            whole, left = timed(dense, path, batch, size, runs * (4 if batch == 1 else 1))
            faster = median_interval(np.array(whole) / np.array(left))
            cells.append(Cell(name, label, batch, 1 / done.plan.macs_ratio, faster, float(np.median(whole))))
            print(line(cells[-1]), flush=True)
    return cells


def line(cell: Cell) -> str:
    faster = "{:.2f} ({:.2f}–{:.2f})".format(*cell.faster)
    worth = "{:.2f} ({:.2f}–{:.2f})".format(*cell.worth)
    return (
        f"| {cell.network} | {cell.recipe} | {cell.batch} | {cell.dense_ms:.1f} | {cell.fewer:.2f} | {faster} "
        f"| {worth} |"
    )


def verdict(cells: list[Cell]) -> str:
    ours = [cell for cell in cells if cell.recipe == "defaults"]
    below = [f"{cell.network} at batch {cell.batch}" for cell in ours if cell.worth[0] < 0.8]
    slower = [f"{cell.network} at batch {cell.batch}" for cell in ours if cell.faster[0] < 1]
    return f"Defaults below 0.8: {', '.join(below) or 'none'}; slower than dense: {', '.join(slower) or 'none'}."


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", nargs="*", default=["*"])
    arguments.add_argument("--runs", type=int, default=15, help="turns at batch 32; four times as many at batch 1")
    arguments.add_argument("--size", type=int, default=128, help="height and width of the images")
    arguments.add_argument("--plot", type=Path)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    print(describe())
    if missing("torchvision"):
        print(skipped("speedup.py", missing("torchvision")))
        return
    print(f"\nImages of 3x{asked.size}x{asked.size}.\n")
    print("| network | recipe | batch | dense ms | MACs ÷ | times faster | faster ÷ fewer MACs |")
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in shapes(asked.size).items():
            if any(fnmatchcase(name, pattern) for pattern in asked.only):
                cells += measure(name, make, asked.size, asked.runs, Path(folder))
    print(f"\n{verdict(cells)}")
    if asked.plot:
        shown = [Interval(f"{cell.network}, batch {cell.batch}", cell.recipe, *cell.worth) for cell in cells]
        asked.plot.write_text(intervals(shown, "speed-up ÷ MACs ratio", mark=0.8))


if __name__ == "__main__":
    main()
