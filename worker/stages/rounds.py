"""What is done to a network after each step of its prune, and to its twin as often."""

from dataclasses import dataclass
from typing import Literal

import torch

from service.contract.recipe import Recipe
from service.contract.report import EpochRecord
from worker.graph.inner import Inner
from worker.graph.network import Network
from worker.pruning.masks import Masks
from worker.reporter import Reporter
from worker.stages.load import Data
from worker.training.checkpoint import CheckpointStore
from worker.training.laps import Lap
from worker.training.loop import Trained, finetune
from worker.training.movement import Movement
from worker.training.normalization import recalibrate

__all__ = ["Rounds", "history"]


@dataclass(frozen=True)
class Rounds:
    """The treatment: statistics measured anew, then a round of training. `start` is the teacher of all."""

    start: Network
    data: Data
    recipe: Recipe
    device: torch.device
    checkpoints: CheckpointStore

    def refreshed(self, network: Network) -> Network:
        """With statistics measured anew, where the recipe wants that."""
        if not self.recipe.finetune.recalibrate:
            return network
        return recalibrate(network, self.data.calibration, device=self.device)

    def treat(
        self,
        network: Network,
        arm: Literal["twin", "pruned"],
        lap: Lap,
        inner: tuple[Inner, ...],
        reporter: Reporter,
        masks: Masks | None = None,
        movement: Movement | None = None,
    ) -> Trained:
        """`network` after round `lap`. Only the last round has a choice among its epochs: the others end as they end,
        for the next step would not know of it. Raises TrainingDiverged."""
        settings, data = self.recipe.finetune, self.data
        network = self.refreshed(network)
        if not lap.last and not lap.epochs:
            return Trained(network, [])
        return finetune(
            network,
            self.start,
            data.train,
            data.tuning if lap.last and len(data.tuning) else None,
            settings.model_copy(update={"epochs": lap.epochs}),
            data.task,
            self.recipe.seed,
            arm,
            self.checkpoints,
            device=self.device,
            reporter=reporter,
            inner=inner,
            lap=lap,
            masks=masks,
            movement=movement,
        )


def history(epochs: list[EpochRecord], *, first: bool, last: bool) -> list[EpochRecord]:
    """What the report shows of a round: the state before it only in the first and the last, and a choice only there."""
    shown = epochs if first or last else epochs[1:]
    return shown if last else [record.model_copy(update={"chosen": False}) for record in shown]
