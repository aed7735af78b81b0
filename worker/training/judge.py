"""Who picks the epoch: the tuning split."""

import math
from collections.abc import Callable

import torch

from worker.data.batches import Samples, Task
from worker.data.predictions import Predictions
from worker.errors import TrainingDiverged
from worker.graph.network import Network
from worker.training.evaluation import Score, predict, score

__all__ = ["Judge"]


class Judge:
    """Scores a network on the tuning split; without one (None or empty) every score is of None.

    Without labels the measure is nearness to the teacher, whose answers are computed once.
    """

    def __init__(
        self,
        tuning: Samples | None,
        task: Task,
        teacher: Network | None,
        device: torch.device,
        alive: Callable[[], None],
    ) -> None:
        self._tuning = tuning if tuning is not None and len(tuning) > 0 else None
        self._task: Task = task
        self._device = device
        self._alive = alive
        needs_teacher = self._tuning is not None and task == "unlabelled"
        self._wanted = self._predictions(teacher) if needs_teacher and teacher is not None else None

    def __call__(self, network: Network, epoch: int) -> Score:
        """`network` is in inference mode. Raises TrainingDiverged when its answers are not numbers."""
        if self._tuning is None:
            return Score(None)
        verdict = score(self._predictions(network), self._task, self._wanted)
        if verdict.loss is not None and not math.isfinite(verdict.loss):
            raise TrainingDiverged(
                f"after epoch {epoch} the loss on the tuning split is {verdict.loss}: "
                + (
                    "the network answers with NaN or infinity before any training; check the samples and input.scale"
                    if epoch == 0
                    else "try a lower finetune.learning_rate"
                )
            )
        return verdict

    def _predictions(self, network: Network) -> Predictions:
        assert self._tuning is not None
        return predict(network, self._tuning, device=self._device, on_batch=lambda _: self._alive())
