"""What zeros without structure buy: accuracy, latency in ONNX Runtime on one thread, and size with and without zstd.

python benchmarks/sparsity.py [--epochs N] [--seconds S]

Networks: an MLP on the digits of scikit-learn, trained here, and ResNet-20 where the evaluation data is found
(the folder `SECATEUR_TEST_DATA`). Weights are chosen by magnitude; `random` chooses as many by chance, in
the same densities per layer, and is the control. Both go through the same recalibration and fine-tuning; the row `0`
is the dense network after it. Latencies are measured interleaved with the dense file: the interval is that of the
ratio.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from service.contract.recipe import Distill, Finetune, Input, Prune
from worker.data.dataset import Dataset
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.export.compress import compress
from worker.export.latency import measure_latency
from worker.export.onnx import write_onnx
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.graph.traced import from_exported
from worker.order import ChildLimits
from worker.pruning.criteria import CRITERIA
from worker.pruning.masks import Masks
from worker.pruning.scoring import Scene
from worker.pruning.sparsify import sparsify
from worker.training.checkpoint import CheckpointStore
from worker.training.evaluation import predict, score
from worker.training.loop import finetune
from worker.training.normalization import recalibrate

DATA = Path(os.environ.get("SECATEUR_TEST_DATA", "no evaluation data"))
LIMITS = ChildLimits(
    memory_bytes=2**33, cpu_seconds=600, file_bytes=2**30, dataset_bytes=2**30,
    model_nodes=10_000, threads=1, device="cpu",
)  # fmt: skip
SETTINGS: tuple[tuple[str, float, dict[str, object]], ...] = (
    *((f"{100 * share:.0f} %", share, {"granularity": "unstructured"}) for share in (0.5, 0.8, 0.9, 0.95)),
    ("2:4", 0.5, {"granularity": "n:m", "pattern": "2:4"}),
    *((f"1x8, {100 * share:.0f} %", share, {"granularity": "block", "block": [1, 8]}) for share in (0.5, 0.9)),
)


@dataclass(frozen=True)
class Case:
    name: str
    dense: Network
    train: SplitSamples
    test: SplitSamples


def digits_mlp(folder: Path) -> Case:
    """64 → 1024 → 1024 → 10, trained for ten epochs."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    data = _dataset(images.astype(np.float32), labels)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    batch = torch.export.Dim("batch")
    network = from_exported(torch.export.export(module.eval(), (torch.randn(2, 64),), dynamic_shapes=({0: batch},)))
    transform = InputTransform.build(Input(scale=1 / 16, mean=[0.3], std=[0.35]), data, network.inputs)
    splits = [SplitSamples(data, rows, transform, "classification") for rows in (order[600:], order[:600])]
    settings = Finetune(epochs=10, batch_size=64, learning_rate=0.05, augment=[], distill=None)
    store = CheckpointStore(folder / "mlp")
    trained = finetune(network, None, splits[0], None, settings, "classification", 0, "twin", store)
    return Case("MLP 64-1024-1024-10, digits", trained.network, *splits)


def resnet20() -> Case:
    network = read_pt2(DATA / "models" / "resnet20.pt2", LIMITS)
    with np.load(DATA / "cifar10-dev.npz") as file:
        images = np.concatenate([file["x_train"], file["x_test"]])
        labels = np.concatenate([file["y_train"], file["y_test"]])
        trained = len(file["x_train"])
    data = _dataset(images, labels)
    normalised = Input(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    transform = InputTransform.build(normalised, data, network.inputs)
    rows = np.arange(len(images))
    order = np.random.default_rng(0).permutation(trained)
    splits = [SplitSamples(data, part, transform, "classification") for part in (order, rows[trained:])]
    return Case("ResNet-20, CIFAR-10", network, *splits)


def _dataset(images: np.ndarray, labels: np.ndarray) -> Dataset:
    return Dataset(
        format="npz", arrays={"x": images}, labels=labels.astype(np.int64), split=None, groups=None,
        class_names=None, group_names=None,
    )  # fmt: skip


def sparse(case: Case, share: float, prune: dict[str, object], criterion: str) -> tuple[Network, Masks]:
    recipe = Prune.model_validate({**prune, "criterion": criterion, "allocation": "erk"})
    structure = analyze(case.dense, example_inputs(case.dense))
    scene = Scene(
        dense=case.dense, network=case.dense, structure=structure, selection=structure.everything(),
        samples=None, task="classification", prune=recipe, seed=0,
    )  # fmt: skip
    return sparsify(scene, CRITERIA[criterion], share)  # type: ignore[index]  # one of two names


def treated(case: Case, network: Network, masks: Masks, epochs: int, folder: Path) -> Network:
    """After recalibration and fine-tuning with distillation, the last epoch."""
    samples = SplitSamples(case.train.dataset, case.train.rows[:1024], case.train.transform, "classification")
    network = recalibrate(network, samples)
    augment = ["crop", "flip"] if case.train.has_images else []
    settings = Finetune.model_validate(
        {"epochs": epochs, "batch_size": 128, "learning_rate": 0.01, "augment": augment, "distill": Distill(features=0)}
    )
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        store = CheckpointStore(Path(scratch))
        arguments = (network, case.dense, case.train, None, settings, "classification", 0, "pruned", store)
        return finetune(*arguments, masks=masks).network


def accuracy(case: Case, network: Network) -> float:
    found = score(predict(network, case.test), "classification").accuracy
    assert found is not None
    return found


def rows(case: Case, epochs: int, seconds: float, folder: Path) -> Iterator[str]:
    dense_onnx, dense_zst = folder / "dense.onnx", folder / "dense.onnx.zst"
    write_onnx(case.dense, dense_onnx)
    compress(dense_onnx, dense_zst)
    sizes = f"{dense_onnx.stat().st_size / 1e6:.2f} | {dense_zst.stat().st_size / 1e6:.2f}"
    plain = f"{accuracy(case, treated(case, case.dense, {}, epochs, folder)):.1f} | – | 1 | 1"
    yield f"| 0 | {plain} | {sizes} |"
    for name, share, prune in SETTINGS:
        accuracies = []
        for criterion in ("magnitude", "random"):
            network, masks = sparse(case, share, prune, criterion)
            network = treated(case, network, masks, epochs, folder)
            accuracies.append(accuracy(case, network))
            if criterion == "magnitude":
                onnx, zst = folder / "model.onnx", folder / "model.onnx.zst"
                write_onnx(network, onnx)
                compress(onnx, zst)
                times = measure_latency(dense_onnx, onnx, threads=1, seconds_per_cell=seconds)
                sizes = f"{onnx.stat().st_size / 1e6:.2f} | {zst.stat().st_size / 1e6:.2f}"
        ratios = [
            f"{row.ratio:.2f} ({row.ratio_ci95[0]:.2f}–{row.ratio_ci95[1]:.2f})"
            if row.ratio_ci95
            else f"{row.ratio:.2f}"
            for row in times
        ]
        yield f"| {name} | {accuracies[0]:.1f} | {accuracies[1]:.1f} | {ratios[0]} | {ratios[1]} | {sizes} |"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=5.0, help="per cell of the latency columns")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = [digits_mlp(folder)]
        cases += [resnet20()] if (DATA / "cifar10-dev.npz").is_file() else []
        for case in cases:
            print(f"\n{case.name}\n")
            print("| zeros | accuracy % | random % | latency b1 | latency b32 | model.onnx MB | .zst MB |")
            print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
            for line in rows(case, asked.epochs, asked.seconds, folder):
                print(line, flush=True)


if __name__ == "__main__":
    main()
