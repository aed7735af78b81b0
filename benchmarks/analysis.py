"""Analysis of what can be removed, CPU time against Torch-Pruning on the same networks. Bars: never slower on any
network, at least 5x faster on transformers.

python benchmarks/analysis.py [--only PATTERN ...] [--runs N] [--cap SECONDS] [--plot FILE]

Both start from the network in memory, run it once for real on one sample, and end with every group of channels that
goes together: `analyze` on one side, `DependencyGraph.build_dependency` and `get_all_groups` on the other. One process,
one thread, turn by turn; medians. A run of Torch-Pruning that takes longer than the cap is stopped.
"""

import argparse
import gc
import statistics
import time
import warnings
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from _clock import TookTooLong, capped, cpu_seconds
from _machine import describe, missing, skipped
from _networks import NETWORKS, Entry
from _plots import Bar, bars
from torch import Tensor, nn

from tests.worker.zoo_example import Example
from worker.errors import UnsupportedModel
from worker.graph.network import Network
from worker.graph.shapes import forward
from worker.graph.structure import Structure, analyze
from worker.graph.traced import from_exported


@dataclass(frozen=True)
class Row:
    """Seconds of CPU. `build` and `groups` are Torch-Pruning's; None where it failed, infinite beyond the cap."""

    name: str
    entry: Entry
    nodes: int
    structure: Structure
    forward: float
    ours: float
    build: float | None
    groups: float | None
    why: str = ""

    @property
    def theirs(self) -> float | None:
        return None if self.build is None or self.groups is None else self.build + self.groups


def torch_pruning_once(module: nn.Module, example: tuple[Tensor, ...], cap: float) -> tuple[float, float]:
    """Seconds of the build, which runs the network once, and of all groups; infinite beyond the cap."""
    import torch_pruning

    gc.collect()
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(module, example)
    built = time.process_time()
    try:
        with capped(cap):
            for _ in graph.get_all_groups(root_module_types=(nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)):
                pass
    except TookTooLong:
        return built - start, float("inf")
    return built - start, time.process_time() - built


def read(example: Example) -> Network:
    """The network, decomposed where it writes into memory that others share, as the refusal of it advises."""
    program = example.exported()
    try:
        return from_exported(program)
    except UnsupportedModel:
        return from_exported(program.run_decompositions({}))


def measure(name: str, entry: Entry, runs: int, cap: float) -> Row:
    example = entry.make()
    network = read(example)
    one = tuple(tensor[:1].clone() for tensor in example.inputs)
    nodes = len(network.module.graph.nodes)
    structure = analyze(network, one)
    times: dict[str, list[float]] = {"forward": [], "ours": [], "build": [], "groups": []}
    why = "" if not missing("torch_pruning") else "not installed"
    for turn in range(runs + 1):
        row = {
            "forward": cpu_seconds(lambda: forward(network, one)),
            "ours": cpu_seconds(lambda: analyze(network, one)),
        }
        if not why:
            try:
                row["build"], row["groups"] = torch_pruning_once(example.module, one, cap)
            except Exception as error:  # noqa: BLE001 -- whatever a peer raises is a finding
                why = f"{type(error).__name__}: {str(error).splitlines()[0][:60] if str(error) else ''}"
        if turn or row.get("groups") == float("inf"):  # the first turn warms up
            for column, seconds in row.items():
                times[column].append(seconds)
        if row.get("groups") == float("inf"):
            # Once is enough of that; ours goes on alone.
            why = f"more than {cap:g} s"
    medians = {column: statistics.median(found) if found else None for column, found in times.items()}
    assert medians["ours"] is not None
    assert medians["forward"] is not None
    return Row(
        name, entry, nodes, structure, medians["forward"], medians["ours"], medians["build"], medians["groups"], why
    )


def line(row: Row, cap: float) -> str:
    ours = f"{1e3 * row.forward:.0f} | {1e3 * row.ours:.0f}"
    counts = f"{row.nodes} | {row.structure.component_count}"
    if row.build is None or row.groups is None:
        return f"| {row.name} | {row.entry.size} | {counts} | {ours} | – | – | {row.why} |"
    over = row.groups == float("inf")
    groups = f"> {1e3 * cap:.0f}" if over else f"{1e3 * row.groups:.0f}"
    ratio = f"> {(row.build + cap) / row.ours:.0f}" if over else f"{(row.build + row.groups) / row.ours:.2f}"
    return f"| {row.name} | {row.entry.size} | {counts} | {ours} | {1e3 * row.build:.0f} | {groups} | {ratio} |"


def ratio_of(row: Row, cap: float) -> float | None:
    return None if row.theirs is None else min(row.theirs, row.build + cap if row.build else cap) / row.ours


def verdict(rows: list[Row], cap: float) -> str:
    compared = [(row, ratio) for row in rows if (ratio := ratio_of(row, cap)) is not None]
    slower = [row.name for row, ratio in compared if ratio < 1]
    below = [row.name for row, ratio in compared if row.entry.transformer and ratio < 5]
    return (
        f"Of {len(compared)} networks that both analyse, {len(slower)} slower than Torch-Pruning"
        f"{': ' + ', '.join(slower) if slower else ''}; transformers below 5x: {', '.join(below) or 'none'}."
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", nargs="*", default=["*"])
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--cap", type=float, default=60.0, help="seconds of CPU for all groups of Torch-Pruning")
    arguments.add_argument("--plot", type=Path)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    print(describe())
    if missing("torch_pruning"):
        print(skipped("the comparison", missing("torch_pruning")))
    print("\n| network | input | nodes | components | forward ms | analyze ms | TP build ms | TP groups ms | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    rows, left_out = [], []
    for name, entry in NETWORKS.items():
        if not any(fnmatchcase(name, pattern) for pattern in asked.only):
            continue
        if entry.missing:
            left_out.append(skipped(name, entry.missing))
            continue
        rows.append(measure(name, entry, asked.runs, asked.cap))
        print(line(rows[-1], asked.cap), flush=True)
    print("\n" + "\n".join([verdict(rows, asked.cap), *left_out]))
    if asked.plot:
        found = [(row, ratio_of(row, asked.cap)) for row in rows]
        shown = [
            Bar(row.name, "transformer" if row.entry.transformer else "other", ratio, row.groups == float("inf"))
            for row, ratio in found
            if ratio is not None
        ]
        asked.plot.write_text(bars(shown, "times faster than Torch-Pruning, CPU time, log scale", log=True, mark=1.0))


if __name__ == "__main__":
    main()
