"""finetune: win accuracy back, and do the very same to an unpruned twin."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from service.contract.recipe import Recipe
from service.contract.report import EpochRecord, Training
from worker.graph.inner import Inner
from worker.graph.network import Network
from worker.pruning.prune import Pruned
from worker.reporter import Portion, Reporter
from worker.stages.load import Data
from worker.training.checkpoint import CheckpointStore
from worker.training.loop import Trained, finetune
from worker.training.normalization import recalibrate

__all__ = ["Recovered", "recover"]


@dataclass(frozen=True)
class Recovered:
    """Both arms after the same treatment."""

    twin: Network
    pruned: Network
    training: Training


def recover(
    start: Network,
    pruned: Pruned,
    data: Data | None,
    recipe: Recipe,
    device: torch.device,
    checkpoints: CheckpointStore,
    reporter: Reporter,
) -> Recovered:
    """Recalibrate and fine-tune twin and pruned alike; without data both stay as they are.

    `start` computes what the dense network computes: it is the teacher of both, and what the twin starts from. Raises
    TrainingDiverged.
    """
    settings = recipe.finetune
    if data is None:
        return Recovered(start, pruned.network, Training(treatment=[], epochs=[], recalibration_samples=0))
    treatment = [
        *(["recalibrate"] if settings.recalibrate else []),
        *(["finetune"] if settings.epochs else []),
        *(["distill"] if settings.epochs and settings.distill else []),
    ]

    def treat(network: Network, arm: Literal["twin", "pruned"], inner: tuple[Inner, ...], begin: float) -> Trained:
        if settings.recalibrate:
            network = recalibrate(network, data.calibration, device=device)
        return finetune(
            network,
            start,
            data.train,
            data.tuning if len(data.tuning) else None,
            settings,
            data.task,
            recipe.seed,
            arm,
            checkpoints,
            device=device,
            reporter=Portion(reporter, begin, 0.5),
            inner=inner,
        )

    # The pruned arm first: when it diverges, the job need not train the twin to find out.
    trained = treat(pruned.network, "pruned", pruned.inner, begin=0.0)
    twin = treat(start, "twin", tuple(replace(value, kept=None) for value in pruned.inner), begin=0.5)
    epochs: list[EpochRecord] = [*twin.epochs, *trained.epochs]
    return Recovered(
        twin.network,
        trained.network,
        Training(
            treatment=treatment,
            epochs=epochs,
            recalibration_samples=len(data.calibration) if settings.recalibrate else 0,
        ),
    )
