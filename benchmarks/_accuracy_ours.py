"""Secateur on ResNet-20: what it chooses, alone, and what a job does by default."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from _accuracy_data import EPOCHS, LEARNING_RATE, Bench

from service.contract.recipe import Finetune, Prune, Target
from worker.graph.inner import Inner
from worker.graph.network import Network
from worker.graph.structure import Selection
from worker.pruning.plan import selection_of
from worker.pruning.prune import prune
from worker.reporter import Silent
from worker.training.checkpoint import CheckpointStore
from worker.training.loop import finetune
from worker.training.normalization import recalibrate

__all__ = ["METHODS", "Method", "as_a_job", "chosen"]


@dataclass(frozen=True)
class Method:
    """`prune` are the fields of the recipe that differ from its defaults."""

    prune: dict[str, object]

    @property
    def recipe(self) -> Prune:
        return Prune.model_validate({"granularity": ["channel", "head", "neuron"], "criterion": "taylor", **self.prune})


METHODS = {
    "secateur-taylor": Method({"criterion": "taylor", "compensate": False}),
    "secateur-taylor-r1": Method({"criterion": "taylor", "compensate": False, "round_to": 1}),
    "secateur-magnitude": Method({"criterion": "magnitude", "compensate": False}),
    "secateur-magnitude-r1": Method({"criterion": "magnitude", "compensate": False, "round_to": 1}),
    "secateur-random": Method({"criterion": "random", "compensate": False}),
    "secateur-default": Method({}),
    "secateur-default-r1": Method({"round_to": 1}),
}


def chosen(method: Method, bench: Bench, seed: int, share: float) -> tuple[Selection, Network]:
    """What is kept of `bench.dense` at `share` of its MACs, and the network cut so, by the defaults of a job but for
    what `method` says."""
    recipe = method.recipe
    samples = bench.calibration(seed)

    def between(network: Network, *_: object) -> Network:
        return recalibrate(network, samples)

    target = Target(macs=share)
    pruned = prune(bench.dense, recipe, target, samples, "classification", seed, Silent(), between=between)
    return selection_of(pruned.structure, pruned.plan), pruned.network


def as_a_job(network: Network, teacher: Network, inner: tuple[Inner, ...], bench: Bench, seed: int) -> Network:
    """Recalibrated and trained as a job does by default, on the budget of `train_plainly`: same images, views, number
    of epochs and peak of the learning rate; with distillation, warm-up, and Nesterov momentum. The last epoch."""
    settings = Finetune(epochs=EPOCHS, learning_rate=LEARNING_RATE, loss="cross_entropy", augment=["flip", "crop"])
    network = recalibrate(network, bench.calibration(seed))
    with tempfile.TemporaryDirectory() as scratch:
        return finetune(
            network, teacher, bench.train, None, settings, "classification", seed, "pruned",
            CheckpointStore(Path(scratch)), inner=inner,
        ).network  # fmt: skip
