"""Accuracy of ResNet-20 at equal MACs, pruned by Torch-Pruning and by Secateur, after the same fine-tuning.

python benchmarks/accuracy.py --data FOLDER [--seeds N] [--only PATTERN ...] [--tables] [--plot FILE]

FOLDER holds `models/resnet20.pt2` and `cifar10-dev.npz`. Every run is one file in bench-output/accuracy, so that a
benchmark that was stopped goes on; all of it takes a few hours on one core. Three tables:

  (a) the choice alone: the same plain fine-tuning for all, no compensation, no distillation;
  (b) each tool as it is meant to be used: Secateur's defaults, Torch-Pruning with plain fine-tuning;
  (c) what comes from where: Torch-Pruning's choice with Secateur's training, and Secateur's parts one by one.

Random choice is the control in each. `--split tuning` measures on training images that were held out instead of on the
test images: for decisions about defaults.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

import _accuracy_ours as ours
import numpy as np
import torch
from _accuracy_data import Bench, Split, load, recalls, train_plainly
from _accuracy_tables import plot, tables
from _machine import missing, skipped

from worker.graph.inner import inner_values
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.training.weights import load_weights, weights_of

if missing("torch_pruning"):
    print(skipped("accuracy.py", missing("torch_pruning")))
    raise SystemExit(0)

import _accuracy_peers as peers  # it imports torch_pruning

Training = Literal["plain", "job"]
OUTPUT = Path(__file__).parents[1] / "bench-output" / "accuracy"
TARGETS = (2.0, 2.57)

# The most telling first: a benchmark that is stopped early has these.
RUNS: tuple[tuple[str, Training], ...] = (
    ("dense", "plain"), ("tp-taylor", "plain"), ("secateur-taylor", "plain"), ("secateur-taylor-r1", "plain"),
    ("dense", "job"), ("secateur-default", "job"), ("tp-magnitude", "plain"), ("tp-taylor", "job"),
    ("tp-magnitude-local", "plain"), ("secateur-random", "plain"), ("tp-random", "plain"),
    ("secateur-default-r1", "job"), ("secateur-random", "job"), ("secateur-magnitude", "plain"),
    ("secateur-taylor", "job"), ("secateur-default", "plain"), ("tp-taylor-local", "plain"), ("tp-group-norm", "plain"),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    method: str
    training: Training
    target: float
    seed: int

    @property
    def name(self) -> str:
        """Of the file. The recipe is part of it, so that changed defaults are measured anew."""
        return f"{choice_name(self.method, self.target, self.seed)}-{self.training}"


@dataclass(frozen=True)
class Choice:
    """`network` is what `selection` leaves of `base`, with weights that may have been changed since."""

    base: Network
    structure: Structure
    selection: Selection
    network: Network


def choice_name(method: str, target: float, seed: int) -> str:
    if method == "dense":
        return f"dense-s{seed}"
    recipe = ours.METHODS[method].recipe.model_dump_json() if method in ours.METHODS else ""
    digest = f"-{sha256(recipe.encode()).hexdigest()[:8]}" if recipe else ""
    return f"{method}{digest}-{target:g}x-s{seed}"


class Choices:
    """What every method keeps, made once and kept in files."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench, self._folder = bench, folder
        convolutions = peers.dense_of(bench)
        self._bases = {
            base: (network, analyze(network, example_inputs(network)))
            for base, network in (("file", bench.dense), ("convolutions", convolutions))
        }
        _, structure = self._bases["file"]
        self.dense_cost = structure.cost(structure.everything())

    def __call__(self, method: str, target: float, seed: int) -> Choice:
        base, structure = self._bases["convolutions" if method.startswith("tp-") else "file"]
        if method == "dense":
            return Choice(base, structure, structure.everything(), base)
        file = self._file(method, target, seed)
        if not file.is_file():
            self._make(method, target, seed)
        with np.load(file) as stored:
            selection = stored["selection"]
            weights = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "selection"}
        network = remove(base, structure, selection)
        load_weights(network, weights)
        return Choice(base, structure, selection, network)

    def _make(self, method: str, target: float, seed: int) -> None:
        if method in ours.METHODS:
            made = ours.chosen(ours.METHODS[method], self._bench, seed, 1 / target)
            self._save(method, target, seed, *made)
            return
        base, structure = self._bases["convolutions"]
        bounds = [self.dense_cost.macs / times for times in TARGETS]
        for times, selection in zip(TARGETS, peers.trajectory(method, self._bench, seed, bounds), strict=True):
            self._save(method, times, seed, selection, remove(base, structure, selection))

    def _save(self, method: str, target: float, seed: int, selection: Selection, network: Network) -> None:
        weights = {name: weight.numpy() for name, weight in weights_of(network).items()}
        np.savez(self._file(method, target, seed), selection=selection, **weights)

    def _file(self, method: str, target: float, seed: int) -> Path:
        return self._folder / f"{choice_name(method, target, seed)}.npz"


def run(task: Task, bench: Bench, choices: Choices) -> dict[str, object]:
    """One row: choose, train, measure."""
    started = time.process_time()
    choice = choices(task.method, task.target, task.seed)
    chosen = time.process_time()
    if task.training == "plain":
        network = train_plainly(choice.network, bench, task.seed)
    else:
        inner = inner_values(choice.structure, choice.selection)
        network = ours.as_a_job(choice.network, choice.base, inner, bench, task.seed)
    trained = time.process_time()
    accuracy, by_class = recalls(network, bench)
    cost = choice.structure.cost(choice.selection)
    return {
        **asdict(task),
        "accuracy": accuracy,
        "recalls": by_class,
        "macs": cost.macs / choices.dense_cost.macs,
        "params": cost.params / choices.dense_cost.params,
        "widths": {
            layer.name: left.channels
            for layer, left in zip(choice.structure.layers, choice.structure.layer_costs(choice.selection), strict=True)
        },
        "choice_seconds": chosen - started,
        "training_seconds": trained - chosen,
    }


def tasks(seeds: int, only: Sequence[str] = ("*",)) -> list[Task]:
    wanted = [pair for pair in RUNS if any(fnmatchcase("/".join(pair), pattern) for pattern in only)]
    return [
        Task(method, training, target, seed)
        for seed in range(seeds)
        for method, training in wanted
        for target in (TARGETS[:1] if method == "dense" else TARGETS)
    ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, help="folder with models/resnet20.pt2 and cifar10-dev.npz")
    arguments.add_argument("--split", choices=get_args(Split), default="test")
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--only", nargs="+", default=["*"], help="METHOD/TRAINING to run: 'secateur-*/plain'")
    arguments.add_argument("--tables", action="store_true", help="only print what is there")
    arguments.add_argument("--plot", type=Path, help="write an SVG of table (b) and (a)")
    asked = arguments.parse_args()
    if asked.data is None:
        print("accuracy.py needs --data FOLDER, with models/resnet20.pt2 and cifar10-dev.npz; see its first lines.")
        return
    torch.set_num_threads(1)
    folder = OUTPUT / asked.split
    folder.mkdir(parents=True, exist_ok=True)
    bench = load(asked.data, asked.split)
    if not asked.tables:
        choices = Choices(bench, folder)
        for task in tasks(asked.seeds, asked.only):
            file = folder / f"{task.name}.json"
            if not file.is_file():
                row = run(task, bench, choices)
                file.write_text(json.dumps(row, indent=1))
                print(f"{task.name}: {row['accuracy']:.2f} %", flush=True)
    files = [folder / f"{task.name}.json" for task in tasks(asked.seeds)]
    rows = [json.loads(file.read_text()) for file in files if file.is_file()]
    print(tables(rows, bench.class_names))
    if asked.plot:
        asked.plot.write_text(plot(rows))


if __name__ == "__main__":
    main()
