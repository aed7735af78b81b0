"""Fine-tuning: how a network wins back what the prune took."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from service.contract.recipe import Finetune
from service.contract.report import EpochRecord
from worker.data.batches import Samples, Task
from worker.data.split_samples import SplitSamples
from worker.graph.inner import Inner
from worker.graph.network import Network
from worker.reporter import Reporter, Silent
from worker.training.checkpoint import CheckpointStore
from worker.training.device import CPU, placed
from worker.training.divergence import DivergenceGuard, check_weights
from worker.training.evaluation import Score
from worker.training.features import FeatureMatch
from worker.training.judge import Judge
from worker.training.laps import Lap
from worker.training.losses import Objective, build_objective
from worker.training.masks import Masks, ZeroKeeper, masks_digest
from worker.training.mode import set_mode
from worker.training.movement import Movement
from worker.training.optimizer import build_optimizer, set_learning_rate
from worker.training.resume import Run, identity_of, load_run, save_run
from worker.training.schedule import learning_rate
from worker.training.weights import copy_network, load_weights, weights_of

__all__ = ["Trained", "finetune"]

Arm = Literal["twin", "pruned"]

# Seconds between two signs of life: the progress bar and the watchdog expect one each second.
_PULSE = 0.5


@dataclass(frozen=True)
class Trained:
    """The weights of the chosen epoch, in inference mode, on the CPU, and the history of all epochs."""

    network: Network
    epochs: list[EpochRecord]


def finetune(
    network: Network,
    teacher: Network | None,
    train: SplitSamples,
    tuning: Samples | None,
    settings: Finetune,
    task: Task,
    seed: int,
    arm: Arm,
    checkpoints: CheckpointStore,
    device: torch.device = CPU,
    reporter: Reporter | None = None,
    inner: tuple[Inner, ...] = (),
    lap: Lap | None = None,
    masks: Masks | None = None,
    movement: Movement | None = None,
) -> Trained:
    """Train a copy of `network` and return it as it was after its best epoch.

    `settings` is resolved: learning rate and augmentation are filled in. `teacher`, in inference mode, is the dense
    model; its answers, and its activations at `inner`, are imitated as `settings.distill` says. Epoch 0, the state
    before training, competes for best: judged on `tuning` by accuracy, then worst recall, then loss; by loss alone for
    regression; by nearness to the teacher without labels. Without a tuning split the last epoch is taken.
    `lap` places the run among several rounds of training; without it the run is the only one. Weights that `masks` do
    not keep are zero from epoch 0 on. `movement` holds afterwards how this run moved the weights.

    Both arms see the same samples in the same order under the same random views, so that they differ by the prune
    alone. On the CPU the result is a function of the arguments: a run that is killed and called again goes on from its
    last epoch in `checkpoints` and ends with the same bits.

    Where there is nothing to learn from (fewer than two samples, neither labels nor teacher, no weights), the reporter
    is warned and epoch 0 is returned. Raises TrainingDiverged and, for a loss that does not suit the labels,
    MismatchedDataset.
    """
    student = copy_network(network)
    set_mode(student.module, training=False)
    lap = lap or Lap(index=0, count=1, epochs=settings.epochs, offset=0, span=settings.epochs, first_epoch=0)
    pulse = _Pulse(reporter or Silent(), arm, lap)
    if movement is not None:
        movement.begin({}, device)

    with placed(device, student, teacher), _own_randomness(device):
        zeros = ZeroKeeper(student, masks or {})
        zeros.zero_weights()
        judge = Judge(tuning, task, teacher, device, alive=pulse.beat)
        objective = _objective(student, teacher, train, settings, task, device, pulse.reporter)
        if objective is None or settings.epochs == 0:
            record = _record(arm, lap.first_epoch, 0.0, None, judge(student, 0))
            return Trained(student, [record.model_copy(update={"chosen": True})])

        name = f"finetune-{arm}{lap.name}"
        part = f"{arm} {lap} {masks_digest(masks or {})} {movement is not None}"
        identity = identity_of(student, teacher, train, settings, seed, part)
        optimizer = build_optimizer(student, settings)
        updates_per_epoch = train.train_batch_count(settings.batch_size)
        updates, earlier = lap.span * updates_per_epoch, lap.offset * updates_per_epoch
        steps_of_run = settings.epochs * updates_per_epoch

        run = load_run(checkpoints, name, identity, student, optimizer)
        if run is None:
            before = _record(arm, lap.first_epoch, 0.0, None, judge(student, 0))
            run = Run(records=[before], best=_copied(student), best_epoch=0)
            pulse.epoch(before)
        if movement is not None:
            movement.begin(run.movement, device)
        guard = None if run.reference is None else DivergenceGuard(run.reference)
        feature_weight = settings.distill.features if settings.distill is not None else 0.0
        features = FeatureMatch(student, teacher, inner) if teacher is not None and inner and feature_weight else None

        for epoch in range(len(run.records), settings.epochs + 1):
            # One seed per epoch, not per run: an epoch after a resume draws what it would have drawn anyway.
            shuffle = torch.Generator().manual_seed(_seed_of(seed, lap.first_epoch + epoch))
            torch.manual_seed(_seed_of(seed, lap.first_epoch + epoch))  # dropout draws from the global generator
            set_mode(student.module, training=True)
            loss_sum, rate = 0.0, 0.0

            batches = train.train_batches(settings.batch_size, shuffle, settings.augment or ())
            for step, batch in enumerate(batches, start=1):
                update = (epoch - 1) * updates_per_epoch + step
                rate = _rate(settings, earlier + update - 1, updates)
                set_learning_rate(optimizer, rate)

                inputs = [value.to(device, non_blocking=True) for value in batch.inputs]
                labels = None if batch.labels is None else batch.labels.to(device, non_blocking=True)
                wanted: Tensor | None
                if features is not None:
                    answers, wanted, difference = features(inputs)
                    loss = objective(answers, wanted, labels) + feature_weight * difference
                else:
                    wanted = None if teacher is None or objective.imitation is None else _answers_of(teacher, inputs)
                    answers = student(*inputs)[0].flatten(1)
                    loss = objective(answers, wanted, labels)

                value = float(loss.detach())
                if guard is None:
                    knowing_nothing = float(objective(torch.zeros_like(answers), wanted, labels))
                    guard = DivergenceGuard(max(value, knowing_nothing))
                guard.watch(value, epoch, step, rate)

                # No clipping: warm-up and batch norm bound the steps, and a run that explodes all the same should fail
                # loudly instead of being bent into shape for one arm and not for the other.
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                if movement is not None:
                    movement.add(student)
                zeros.zero_gradients()
                optimizer.step()
                zeros.zero_weights()

                loss_sum += value * len(batch.rows)
                pulse.beat(update / steps_of_run, f"{arm} epoch {epoch}/{settings.epochs}, loss {value:.3f}")

            set_mode(student.module, training=False)
            check_weights(student, epoch, updates_per_epoch, rate)
            verdict = judge(student, epoch)
            run.reference = None if guard is None else guard.reference
            run.movement = {} if movement is None else movement.scores
            run.records.append(_record(arm, lap.first_epoch + epoch, rate, loss_sum / len(train), verdict))
            if verdict.loss is None or verdict.rank > run.best_score.rank:
                run.best, run.best_epoch = _copied(student), epoch
            save_run(checkpoints, name, identity, run, student, optimizer)
            pulse.epoch(run.records[-1])

        load_weights(student, run.best)
        if movement is not None:
            movement.begin(movement.scores, CPU)
    chosen = [
        record.model_copy(update={"chosen": number == run.best_epoch}) for number, record in enumerate(run.records)
    ]
    return Trained(student, chosen)


class _Pulse:
    """Tells the reporter how far the run is, often enough and not more often."""

    def __init__(self, reporter: Reporter, arm: Arm, lap: Lap) -> None:
        self.reporter = reporter
        self._lap = lap
        self._said = (0.0, f"{arm} before training")
        self._last = 0.0

    def beat(self, fraction: float | None = None, message: str = "") -> None:
        """Work was done; without a fraction, some that does not show in it."""
        if fraction is not None:
            self._said = (fraction, message)
        if time.monotonic() - self._last >= _PULSE:
            self.reporter.progress(*self._said)
            self._last = time.monotonic()

    def epoch(self, record: EpochRecord) -> None:
        done, epochs = record.epoch - self._lap.first_epoch, self._lap.epochs
        words = [f"{record.arm} epoch {done}/{epochs}"]
        words += [] if self._lap.count == 1 else [f"round {self._lap.index + 1} of {self._lap.count}"]
        words += [] if record.train_loss is None else [f"training loss {record.train_loss:.4f}"]
        words += [] if record.tuning_loss is None else [f"tuning loss {record.tuning_loss:.4f}"]
        words += [] if record.tuning_accuracy is None else [f"tuning accuracy {record.tuning_accuracy:.2f} %"]
        self._said = (done / max(epochs, 1), ", ".join(words))
        self.reporter.progress(*self._said)
        self.reporter.event("metrics", self._said[1], record.model_dump(exclude={"chosen"}))


def _objective(
    student: Network,
    teacher: Network | None,
    train: SplitSamples,
    settings: Finetune,
    task: Task,
    device: torch.device,
    reporter: Reporter,
) -> Objective | None:
    """None, and a warning, where training has nothing to go by."""
    if settings.epochs == 0:
        return None
    if len(train) < 2:
        reporter.warn("no-training-data", f"the training split has {len(train)} samples: fine-tuning was left out")
        return None
    if not any(parameter.is_floating_point() for _, parameter in student.parameters()):
        reporter.warn("no-trainable-weights", "the model has no trainable weights: fine-tuning was left out")
        return None
    first = next(train.batches(1))
    outputs = _answers_of(student, [value.to(device) for value in first.inputs]).shape[1]
    objective = build_objective(settings, task, train.labels, outputs, has_teacher=teacher is not None)
    if objective is None:
        reporter.warn(
            "nothing-to-learn-from",
            "the dataset has no labels and finetune.distill is null: fine-tuning was left out",
        )
    return objective


def _answers_of(network: Network, inputs: list[Tensor]) -> Tensor:
    with torch.inference_mode():
        answers = network(*inputs)[0].flatten(1)
    return answers.clone()  # autograd may not keep tensors of inference mode


def _rate(settings: Finetune, update: int, updates: int) -> float:
    assert settings.learning_rate is not None, "the recipe is resolved before training"
    return learning_rate(update, updates, settings.learning_rate, settings.warmup)


def _record(arm: Arm, epoch: int, rate: float, train_loss: float | None, verdict: Score) -> EpochRecord:
    return EpochRecord(
        arm=arm,
        epoch=epoch,
        learning_rate=rate,
        train_loss=train_loss,
        tuning_loss=verdict.loss,
        tuning_accuracy=verdict.accuracy,
        worst_recall=verdict.worst_recall,
        chosen=False,
    )


def _copied(network: Network) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in weights_of(network).items()}


def _seed_of(seed: int, epoch: int) -> int:
    """63 bits from a hash: neighbouring seeds and epochs give unrelated streams."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{epoch}".encode()).digest()[:8]) >> 1


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
