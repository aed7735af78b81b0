"""finetune: win accuracy back, and do the very same to an unpruned twin."""

from dataclasses import dataclass, replace

import torch

from service.contract.recipe import Recipe
from service.contract.report import EpochRecord, Training
from worker.graph.inner import Inner
from worker.graph.network import Network
from worker.reporter import Portion, Reporter
from worker.stages.laps import laps_of
from worker.stages.load import Data
from worker.stages.prune import Shrunk
from worker.stages.rounds import Rounds, history
from worker.training.checkpoint import CheckpointStore

__all__ = ["Recovered", "recover"]


@dataclass(frozen=True)
class Recovered:
    """Both arms after the same treatment."""

    twin: Network
    pruned: Network
    training: Training


def recover(
    start: Network,
    pruned: Shrunk,
    data: Data | None,
    recipe: Recipe,
    device: torch.device,
    checkpoints: CheckpointStore,
    reporter: Reporter,
) -> Recovered:
    """Recalibrate and fine-tune twin and pruned alike; without data both stay as they are.

    `start` computes what the dense network computes: it is the teacher of both, and what the twin starts from. What
    the pruned network was trained between the steps of its prune, the twin is trained here. Raises TrainingDiverged.
    """
    settings = recipe.finetune
    if data is None:
        return Recovered(start, pruned.network, Training(treatment=[], epochs=[], recalibration_samples=0))
    rounds = Rounds(start, data, recipe, device, checkpoints)
    # The pruned arm first: when it diverges, the job need not train the twin to find out.
    lap = laps_of(recipe)[-1]
    trained = rounds.treat(
        pruned.rewound(start, recipe), "pruned", lap, pruned.inner, Portion(reporter, 0.0, 0.5), pruned.masks
    )
    twin, twin_epochs = _twin(start, pruned.inner, recipe, rounds, Portion(reporter, 0.5, 0.5))
    epochs = sum(lap.epochs for lap in laps_of(recipe))
    return Recovered(
        twin,
        trained.network,
        Training(
            treatment=[
                *(["recalibrate"] if settings.recalibrate else []),
                *(["finetune"] if epochs else []),
                *(["distill"] if epochs and settings.distill else []),
            ],
            epochs=[*twin_epochs, *pruned.epochs, *trained.epochs],
            recalibration_samples=len(data.calibration) if settings.recalibrate else 0,
        ),
    )


def _twin(
    start: Network, inner: tuple[Inner, ...], recipe: Recipe, rounds: Rounds, reporter: Reporter
) -> tuple[Network, list[EpochRecord]]:
    """The unpruned network after every round; with rewound weights after the last, which is all that is left."""
    laps = laps_of(recipe)
    if recipe.prune.schedule.rewind == "weights":
        laps = laps[-1:]
    whole = tuple(replace(value, kept=None) for value in inner)
    network, records = start, list[EpochRecord]()
    for position, lap in enumerate(laps):
        part = Portion(reporter, position / len(laps), 1 / len(laps))
        trained = rounds.treat(network, "twin", lap, whole, part)
        network = trained.network
        records += history(trained.epochs, first=position == 0, last=lap.last)
    return network, records
