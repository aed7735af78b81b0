"""What training minimises."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from service.contract.recipe import Distill, Finetune
from worker.data.batches import Task
from worker.errors import MismatchedDataset

__all__ = ["Objective", "balanced_weights", "build_objective", "distillation"]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """`weight · imitation(student, teacher) + (1 − weight) · label_loss(student, labels)`.

    A term whose weight is 0 is None. All tensors are (B, C): outputs flattened from the second axis on.
    """

    label_loss: Loss | None
    imitation: Loss | None
    weight: float

    def __call__(self, student: Tensor, teacher: Tensor | None, labels: Tensor | None) -> Tensor:
        terms = []
        if self.imitation is not None:
            assert teacher is not None
            terms.append(self.weight * self.imitation(student, teacher))
        if self.label_loss is not None:
            assert labels is not None
            terms.append((1 - self.weight) * self.label_loss(student, labels))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def build_objective(
    settings: Finetune,
    task: Task,
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None,
    outputs: int,
    has_teacher: bool,
) -> Objective | None:
    """The objective of a resolved recipe for a network with `outputs` values per sample.

    Without labels, distillation has all the weight; without labels or teacher there is nothing to learn: None.
    Teachers are imitated by KL divergence where outputs are logits of classes, else by squared error. Class weights
    apply to the term of the labels. Raises MismatchedDataset for a loss that the labels do not allow.
    """
    distill = settings.distill if has_teacher else None
    weight = 0.0 if distill is None else 1.0 if task == "unlabelled" else distill.weight
    if task == "unlabelled" and distill is None:
        return None
    are_logits = outputs > 1 and task != "regression" and (task == "classification" or settings.loss != "mse")
    imitation: Loss | None = None
    if distill is not None and weight > 0:
        imitation = distillation(distill) if are_logits else functional.mse_loss
    return Objective(_label_loss(settings, task, labels, outputs) if weight < 1 else None, imitation, weight)


def distillation(settings: Distill) -> Loss:
    """`T² · KL(teacher ‖ student)` of the distributions softened by T, mean over the batch.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2; T² keeps the size of the
    gradients, which soften by 1/T².
    """
    temperature = settings.temperature

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        wanted = functional.log_softmax(teacher / temperature, dim=1)
        answered = functional.log_softmax(student / temperature, dim=1)
        return temperature**2 * functional.kl_div(answered, wanted, reduction="batchmean", log_target=True)

    return loss


def balanced_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """N ÷ (present classes · count) per class, so that samples weigh 1 on average; 0 for classes that never occur."""
    counts = np.bincount(labels, minlength=classes)
    present = int(np.count_nonzero(counts))
    weights = np.divide(len(labels) / max(present, 1), counts, out=np.zeros(classes), where=counts > 0)
    return torch.tensor(weights, dtype=torch.float32)


def _label_loss(
    settings: Finetune, task: Task, labels: npt.NDArray[np.int64] | npt.NDArray[np.float32] | None, outputs: int
) -> Loss:
    assert labels is not None
    if task == "regression":
        if settings.loss == "cross_entropy":
            raise MismatchedDataset(
                "finetune.loss is `cross_entropy` and the labels are real-valued: use `mse`, or store class indices as "
                "integers"
            )
        return functional.mse_loss
    weights = balanced_weights(labels.astype(np.int64), outputs) if settings.class_weights == "balanced" else None
    if settings.loss == "mse":
        return lambda student, wanted: _one_hot_error(student, wanted, weights)

    def cross_entropy(student: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(student, wanted, None if weights is None else weights.to(student))

    return cross_entropy


def _one_hot_error(student: Tensor, wanted: Tensor, weights: Tensor | None) -> Tensor:
    """Squared error to one-hot targets (Hui and Belkin, 2021), samples weighed by their class."""
    errors = (student - functional.one_hot(wanted, student.shape[1]).to(student)).square().mean(1)
    if weights is None:
        return errors.mean()
    of_sample = weights.to(student)[wanted]
    return (errors * of_sample).sum() / of_sample.sum()
