"""The state of a fine-tuning run between two epochs, and how it survives a kill."""

import hashlib
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.contract.recipe import Finetune
from service.contract.report import EpochRecord
from worker.data.split_samples import SplitSamples
from worker.graph.network import Network
from worker.training.checkpoint import CheckpointStore
from worker.training.evaluation import Score
from worker.training.optimizer import load_optimizer, optimizer_tensors
from worker.training.weights import load_weights, weights_digest, weights_of

__all__ = ["Run", "identity_of", "load_run", "save_run"]


@dataclass
class Run:
    """What was seen so far: one record per judged epoch, from epoch 0 (untrained) on, and the best weights of them.

    `reference` is that of the DivergenceGuard, None before the first update; `movement` are the scores of a Movement.
    """

    records: list[EpochRecord]
    best: dict[str, Tensor]
    best_epoch: int
    reference: float | None = None
    movement: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_score(self) -> Score:
        record = self.records[self.best_epoch]
        return Score(record.tuning_loss, record.tuning_accuracy, record.worst_recall)


def identity_of(
    network: Network, teacher: Network | None, train: SplitSamples, settings: Finetune, seed: int, arm: str
) -> str:
    """What a run follows from: a checkpoint of other weights, data, recipe or seed is none of ours."""
    parts = (
        weights_digest(network),
        "" if teacher is None else weights_digest(teacher),
        str(train.rows.tolist()),
        train.transform.resolved.model_dump_json(),
        settings.model_dump_json(),
        f"{seed} {arm} {train.task}",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def save_run(
    checkpoints: CheckpointStore, name: str, identity: str, run: Run, student: Network, optimizer: torch.optim.Optimizer
) -> None:
    """Keep all that the next epoch depends on."""
    tensors = {
        **{f"weights/{key}": tensor for key, tensor in weights_of(student).items()},
        **{f"best/{key}": tensor for key, tensor in run.best.items()},
        **{f"optimizer/{key}": tensor for key, tensor in optimizer_tensors(student, optimizer).items()},
        **{f"movement/{key}": tensor for key, tensor in run.movement.items()},
    }
    meta = {
        "identity": identity,
        "records": [record.model_dump() for record in run.records],
        "best_epoch": run.best_epoch,
        "reference": run.reference,
    }
    checkpoints.save(name, tensors, meta)


def load_run(
    checkpoints: CheckpointStore, name: str, identity: str, student: Network, optimizer: torch.optim.Optimizer
) -> Run | None:
    """Put `student` and `optimizer` where the checkpoint left them; None, and nothing touched, if there is none."""
    checkpoint = checkpoints.load(name)
    if checkpoint is None or checkpoint.meta["identity"] != identity:
        return None
    load_weights(student, _under(checkpoint.tensors, "weights/"))
    load_optimizer(student, optimizer, _under(checkpoint.tensors, "optimizer/"))
    return Run(
        records=[EpochRecord.model_validate(record) for record in checkpoint.meta["records"]],
        best=_under(checkpoint.tensors, "best/"),
        best_epoch=checkpoint.meta["best_epoch"],
        reference=checkpoint.meta["reference"],
        movement=_under(checkpoint.tensors, "movement/"),
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
