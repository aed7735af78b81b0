"""baseline: what the dense network answers, and the network that pruning starts from."""

from dataclasses import dataclass

import numpy as np
import torch

from service.contract.recipe import Recipe
from worker.data.answers import read_answers
from worker.data.batches import Samples
from worker.data.invariance import choose_augmentation
from worker.data.predictions import Predictions
from worker.graph.network import Network
from worker.graph.normalization import has_batch_norm, insert_batch_norms
from worker.reporter import Reporter
from worker.stages.load import Data, Loaded
from worker.training.device import placed
from worker.training.evaluation import predict

__all__ = ["Baseline", "measure_baseline", "watched_predictions"]

# A network this close to guessing was probably fed with other preprocessing than it was trained on.
NEAR_CHANCE = 1.5


@dataclass(frozen=True)
class Baseline:
    """Answers of the dense network, and the common start of the pruned arm and its twin.

    `start` computes what the dense network computes. It differs from it where an ONNX export folded the batch norms
    into the convolutions: there they are put back, because fine-tuning without them recovers far less.
    """

    start: Network
    confirm: Predictions | None
    train: Predictions | None
    recipe: Recipe


def measure_baseline(loaded: Loaded, device: torch.device, reporter: Reporter) -> Baseline:
    """Answer the confirm split and the calibration samples (which are training samples, without augmentation)."""
    data = loaded.data
    if data is None:
        return Baseline(loaded.dense, None, None, loaded.recipe)
    confirm = watched_predictions(loaded.dense, data.confirm, device, reporter, "dense model on the confirm split")
    train = watched_predictions(loaded.dense, data.calibration, device, reporter, "dense model on training samples")
    _warn_near_chance(confirm, data, reporter)
    recipe = loaded.recipe
    if recipe.finetune.epochs > 0 and recipe.finetune.augment is None:
        with placed(device, loaded.dense):
            augment = choose_augmentation(loaded.dense, data.calibration, device)
        reporter.event("log", f"augmentation that the dense model survives: {', '.join(augment) or 'none'}")
        recipe = recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"augment": augment})})
    start = loaded.dense
    if loaded.dense.source == "onnx" and recipe.finetune.epochs > 0 and not has_batch_norm(loaded.dense):
        start = insert_batch_norms(loaded.dense, data.calibration)
        reporter.event("log", "batch norm was folded into the convolutions by the ONNX export; it is put back")
    return Baseline(start, confirm, train, recipe)


def watched_predictions(
    network: Network, samples: Samples, device: torch.device, reporter: Reporter, what: str
) -> Predictions:
    """`predict`, telling the reporter how far it is."""
    total = max(1, len(samples))
    return predict(
        network,
        samples,
        device=device,
        on_batch=lambda done: reporter.progress(done / total, f"{what}: {done}/{total}"),
    )


def _warn_near_chance(confirm: Predictions, data: Data, reporter: Reporter) -> None:
    if data.task != "classification" or confirm.labels is None:
        return
    accuracy = float(read_answers(confirm).correct.mean())
    chance = float(np.bincount(confirm.labels).max()) / len(confirm.labels)
    if accuracy < NEAR_CHANCE * chance:
        reporter.warn(
            "baseline-near-chance",
            f"The dense model is right on {100 * accuracy:.1f} % of the confirm split; always answering the most "
            f"frequent class gives {100 * chance:.1f} %. Check `input` (layout, scale, mean, std) and the order of the "
            "classes: a prune of a model that does not work proves nothing.",
        )
