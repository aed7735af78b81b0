"""How time grows with the number of nodes, and how much memory a job takes against the size of its model. Bars: ten
thousand nodes analysed in seconds, in linear time; a data-free job in 2.5x the size of a model of 1 GB.

PYTHONPATH=. python benchmarks/scale.py [--nodes N ...] [--gigabytes SIZE] [--only {time,memory}] [--cases CASE ...]

Times are CPU seconds of one thread: `analyze`, and a data-free `prune` to half the parameters (analysis, choice and cut
in the default steps, and a check of each), without reading and writing files. Memory is the peak of resident memory of
a whole job in a process of its own, above what the process holds after a small job, divided by the size of the file.
"""

import argparse
import gc
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from _clock import cpu_seconds
from _machine import describe

from benchmarks._scale_networks import DEEP, LARGE
from service.contract.recipe import Recipe
from worker.export.onnx import write_onnx
from worker.export.pt2 import write_pt2
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.pruning.prune import prune
from worker.reporter import Silent

_CASES = ("mlp.pt2", "transformer.pt2", "mlp.onnx")
_RECIPE = {"target": {"params": 0.5}}


def times(kind: str, nodes: int) -> tuple[int, int, float, float]:
    """(nodes, groups, seconds of `analyze`, seconds of `prune`)."""
    network = DEEP[kind](nodes)
    example, recipe = example_inputs(network), Recipe.model_validate(_RECIPE)
    groups = len(analyze(network, example).groups)
    gc.collect()
    analysed = cpu_seconds(lambda: analyze(network, example))
    gc.collect()
    pruned = cpu_seconds(lambda: prune(network, recipe.prune, recipe.target, None, "unlabelled", 0, Silent()))
    return len(network.module.graph.nodes), groups, analysed, pruned


def print_times(sizes: list[int]) -> None:
    print("| network | nodes | groups | analyze s | growth | prune s | growth |\n|---|---:|---:|---:|---:|---:|---:|")
    for kind in DEEP:
        before: tuple[int, int, float, float] | None = None
        for size in sizes:
            row = times(kind, size)
            grown = ["", ""]
            if before is not None:
                # The exponent of a power law through this size and the one before: 1 is linear, 2 quadratic.
                more = math.log(row[0] / before[0])
                grown = [f"{math.log(row[place] / before[place]) / more:.2f}" for place in (2, 3)]
            print(
                f"| {kind} | {row[0]} | {row[1]} | {row[2]:.2f} | {grown[0]} | {row[3]:.1f} | {grown[1]} |", flush=True
            )
            before = row


def print_memory(cases: list[str], gigabytes: float) -> None:
    print("| model | file MiB | job s | peak ÷ file | peaks of the stages ÷ file |\n|---|---:|---:|---:|---|")
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / case
            network = LARGE[path.stem](gigabytes)
            if path.suffix == ".onnx":
                write_onnx(network, path)
            else:
                write_pt2(network, path)
            del network
            command = [sys.executable, "-m", "benchmarks._scale_job", str(path), f"{folder}/job", json.dumps(_RECIPE)]
            environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        shares = {stage: peak / found["file"] for stage, peak in found["stages"].items()}
        stages = ", ".join(f"{stage} {share:.2f}" for stage, share in shares.items())
        size, worst = found["file"] / 2**20, max(shares.values())
        print(f"| {case} | {size:.0f} | {found['wall']:.0f} | **{worst:.2f}** | {stages} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Growth of time with nodes, and memory of a job against its model.")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--gigabytes", type=float, default=0.25, help="size of the weights")
    parser.add_argument("--only", choices=("time", "memory"))
    parser.add_argument("--cases", nargs="+", default=list(_CASES), help="mlp, transformer or convnet, .pt2 or .onnx")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(), end="\n\n")
    if arguments.only != "memory":
        print_times(arguments.nodes)
        print()
    if arguments.only != "time":
        print_memory(arguments.cases, arguments.gigabytes)


if __name__ == "__main__":
    main()
