"""Answers of made-up networks whose differences are known exactly."""

import hashlib

import numpy as np
import numpy.typing as npt

from service.contract.recipe import Recipe
from service.contract.report import LayerChange, SplitInfo, Structure
from worker.audit.arms import Arms
from worker.audit.audit import AuditInputs
from worker.data.predictions import Predictions

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def labels_of(sizes: list[int]) -> npt.NDArray[np.int64]:
    """`sizes[c]` samples of class c."""
    return np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)


def predict(
    answer: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None, classes: int, seed: int
) -> Predictions:
    """Outputs whose largest entry is `answer`, with confidences that vary."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 0.5, (len(answer), classes)).astype(np.float32)
    logits[np.arange(len(answer)), answer] = logits.max(axis=1) + random.uniform(0.5, 4, len(answer)).astype(np.float32)
    return Predictions(logits=logits, labels=labels, rows=np.arange(len(answer), dtype=np.int64))


def wrong_share(labels: npt.NDArray[np.int64], share: float, classes: int, seed: int) -> npt.NDArray[np.int64]:
    """Answers of which `share` are wrong."""
    random = np.random.default_rng(seed)
    wrong = random.random(len(labels)) < share
    return np.where(wrong, (labels + random.integers(1, classes, len(labels))) % classes, labels)


def flip(
    answer: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    lost: list[float],
    gained: float,
    classes: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Of the samples of class c a share `lost[c]` goes from right to wrong and `gained` from wrong to right."""
    random = np.random.default_rng(seed)
    right = answer == labels
    # Rates are shares of all samples of a class, so they are scaled to those that can still change.
    share_right = max(float(right.mean()), 1e-9)
    lose = right & (random.random(len(labels)) < np.array(lost)[labels] / share_right)
    win = ~right & (random.random(len(labels)) < gained / max(1 - share_right, 1e-9))
    other = (labels + random.integers(1, classes, len(labels))) % classes
    return np.where(lose, other, np.where(win, labels, answer)).astype(np.int64)


def structure(**changes: object) -> Structure:
    """Three layers, half of the channels gone."""
    layers = [
        LayerChange(
            name=f"layer{k}.conv",
            op="conv2d",
            group=f"g{k}",
            channels=32 * k,
            channels_kept=16 * k,
            requested_keep=0.1,
            params=9000 * k,
            params_kept=2500 * k,
            macs=10**6 * k,
            macs_kept=4 * 10**5 * k,
        )
        for k in (1, 2, 3)
    ]
    fields: dict[str, object] = {
        "layers": layers,
        "empty_layers": [],
        "dead_channels": 1,
        "dead_channels_dense": 2,
        "max_relative_error": 1e-6,
        "blocked": [],
    }
    return Structure.model_validate(fields | changes)


def splits(labelled: bool = True) -> dict[str, SplitInfo | None]:
    def split(name: str, n: int, labels: bool) -> SplitInfo:
        return SplitInfo(n=n, sha256=hashlib.sha256(name.encode()).hexdigest(), labels=labels)

    return {
        "train": split("train", 5000, labelled),
        "calibration": split("calibration", 2560, False),
        "tuning": split("tuning", 1000, labelled),
        "search": None,
        "confirm": split("confirm", 2000, labelled),
    }


def inputs(confirm: Arms | None, **changes: object) -> AuditInputs:
    labelled = confirm is not None and confirm.dense.labels is not None
    fields: dict[str, object] = {
        "task": "classification",
        "recipe": Recipe.model_validate({"target": {"macs": 0.5}}),
        "structure": structure(),
        "macs_ratio": 0.49,
        "params_ratio": 0.41,
        "confirm": confirm,
        "train": None,
        "splits": splits(labelled) if confirm is not None else {},
        "disjoint": True,
        "duplicates_removed": 0,
        "class_names": NAMES,
    }
    return AuditInputs(**(fields | changes))  # type: ignore[arg-type]  # keyword names are checked by the dataclass


def audit_of(
    sizes: list[int], lost: list[float], gained: float = 0.01, wrong: float = 0.1, seed: int = 0, **changes: object
) -> AuditInputs:
    """Inputs for a classifier with planted losses per class; dense and twin differ by recalibration noise only."""
    labels, classes = labels_of(sizes), len(sizes)
    dense = wrong_share(labels, wrong, classes, seed + 1)
    twin = flip(dense, labels, [0.01] * classes, 0.01, classes, seed + 2)
    pruned = flip(twin, labels, lost, gained, classes, seed + 3)
    arms = Arms(
        dense=predict(dense, labels, classes, seed + 4),
        twin=predict(twin, labels, classes, seed + 4),
        pruned=predict(pruned, labels, classes, seed + 4),
    )
    return inputs(arms, class_names=NAMES[:classes], **changes)
