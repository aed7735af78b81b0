"""Runs that cannot end well are ended, with a word on why."""

import math
from itertools import chain

import torch

from worker.errors import TrainingDiverged
from worker.graph.network import Network
from worker.training.mode import is_batch_norm, running_statistics
from worker.training.weights import weights_of

__all__ = ["DivergenceGuard", "check_weights"]

# A loss ten times that of knowing nothing is no noise: batches differ by a factor of two or three.
_EXPLODED = 10.0

# Smoothing over about ten updates, so that one odd batch does not end a run.
_MEMORY = 0.9


class DivergenceGuard:
    """Watches the loss of every update.

    `reference` is the greater of the loss before the first update and the loss of answering nothing (all outputs
    zero): the twin starts at a distillation loss near 0, and a multiple of that would mean nothing.
    """

    def __init__(self, reference: float) -> None:
        self.reference = reference
        self._smoothed = reference

    def watch(self, loss: float, epoch: int, step: int, rate: float) -> None:
        """Raises TrainingDiverged when the loss is NaN, infinite, or stays above ten times the reference."""
        if not math.isfinite(loss):
            raise _diverged(f"the loss became {loss}", epoch, step, rate)
        self._smoothed = _MEMORY * self._smoothed + (1 - _MEMORY) * loss
        if self._smoothed > _EXPLODED * self.reference:
            raise _diverged(f"the loss rose to {loss:.4g}, from {self.reference:.4g} at the start", epoch, step, rate)


def check_weights(network: Network, epoch: int, step: int, rate: float) -> None:
    """Raises TrainingDiverged when a weight or a statistic is NaN or infinite."""
    trained = {name for name, _ in network.parameters()}
    trained.update(chain.from_iterable(running_statistics(n) for n in network.module.graph.nodes if is_batch_norm(n)))
    for name, weight in weights_of(network).items():  # other buffers are constants, where infinity may be meant
        if name in trained and not bool(torch.isfinite(weight).all()):
            raise _diverged(f"`{name}` holds NaN or infinite values", epoch, step, rate)


def _diverged(what: str, epoch: int, step: int, rate: float) -> TrainingDiverged:
    if epoch <= 1 and step <= 1:
        advice = (
            "this is before any update: check that the samples hold no NaN and that input.scale, mean and std are "
            "those of the model's training"
        )
    else:
        advice = f"try finetune.learning_rate {rate / 10:.1g}, or a longer finetune.warmup"
    return TrainingDiverged(f"{what} in epoch {epoch}, step {step}, at learning rate {rate:.3g}: {advice}")
