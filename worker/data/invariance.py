"""Which augmentations the data bears: asked of the dense model."""

from dataclasses import dataclass

import torch
from torch import Tensor

from service.contract.recipe import Augmentation
from worker.data.augmentation import augment
from worker.data.split_samples import SplitSamples
from worker.graph.network import Network

__all__ = ["Agreement", "agreement", "choose_augmentation"]

# Two views of one image disagree about as often as the model errs, so the bar for all images together is low: a
# 92 % model of CIFAR-10 keeps 92 % of its answers under flips and 94 % under shifts, a 98 % model of 8x8 digits keeps
# 34 % and 52 %. One class may still be what flips destroy (left turn, right turn): hence the second bar.
_SHARE_NEEDED = 0.8
_SHARE_NEEDED_PER_CLASS = 0.5
_SMALLEST_CLASS = 5

# 1,024 samples know a share of 0.8 to within 1.3 points (one standard error).
_SAMPLES = 1024
_BATCH = 256


@dataclass(frozen=True)
class Agreement:
    """Shares of equal answers: of all samples, and in the class (as answered before) that fares worst."""

    overall: float
    worst_class: float

    @property
    def suffices(self) -> bool:
        return self.overall >= _SHARE_NEEDED and self.worst_class >= _SHARE_NEEDED_PER_CLASS


def choose_augmentation(
    dense: Network, samples: SplitSamples, device: torch.device | None = None
) -> list[Augmentation]:
    """Of `flip` and `crop` those that the answers of the dense model survive; nothing where no input is an image.

    `samples` is the calibration split; `dense` lies on `device` and is in inference mode. Deterministic.
    """
    if not samples.has_images or len(samples) == 0:
        return []
    kinds: tuple[Augmentation, ...] = ("flip", "crop")
    return [kind for kind in kinds if agreement(dense, samples, kind, device).suffices]


def agreement(
    dense: Network, samples: SplitSamples, kind: Augmentation, device: torch.device | None = None
) -> Agreement:
    """How many answers stay the same under a random view.

    Answers are the argmax of the first output. With a single output, or with real targets, the share is R² of the
    answers after against those before. Every image is flipped, not every other: the question is what a flip does.
    """
    generator = torch.Generator().manual_seed(0)
    plain: list[Tensor] = []
    viewed: list[Tensor] = []
    rows = samples.rows[:_SAMPLES]
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            stored = samples.transform.read(samples.dataset, rows[start : start + _BATCH])
            seen = _mirrored(stored) if kind == "flip" else augment(stored, [kind], generator)
            for answers, view in ((plain, stored), (viewed, seen)):
                inputs = (value.to(device) for value in samples.transform.normalize(view))
                answers.append(dense(*inputs)[0].flatten(1).float().cpu())
    before, after = torch.cat(plain), torch.cat(viewed)
    if samples.task == "regression" or before.shape[1] == 1:
        spread = (before - before.mean(0)).square().sum()
        explained = float(1 - (before - after).square().sum() / spread) if spread > 0 else 0.0
        return Agreement(explained, explained)
    answers_before = before.argmax(1)
    same = (answers_before == after.argmax(1)).double()
    sizes = torch.bincount(answers_before)
    shares = (torch.bincount(answers_before, weights=same) / sizes)[sizes >= _SMALLEST_CLASS]
    return Agreement(float(same.mean()), float(shares.min()) if len(shares) else 1.0)


def _mirrored(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.flip(3) if value.ndim == 4 else value for value in inputs)
