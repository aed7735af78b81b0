"""audit: ask all three arms the same questions, once, and judge."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from service.contract.recipe import Recipe
from service.contract.report import LayerChange, Sparsity, SplitInfo, Structure
from worker.audit.arms import Arms
from worker.audit.audit import AuditInputs, Evidence, audit
from worker.audit.dead_channels import count_dead_channels
from worker.audit.sparsity import measured_sparsity
from worker.graph.network import Network
from worker.pruning.sparse.plan import sparse_plan
from worker.reporter import Portion, Reporter
from worker.stages.baseline import Baseline, watched_predictions
from worker.stages.finetune import Recovered
from worker.stages.load import Data, Loaded
from worker.stages.prune import Shrunk

__all__ = ["judge"]

# Enough to tell a dead channel from a rare one; every one of them is run through an interpreter.
DEAD_CHANNEL_SAMPLES = 512


def judge(
    loaded: Loaded,
    baseline: Baseline,
    pruned: Shrunk,
    recovered: Recovered,
    recipe: Recipe,
    device: torch.device,
    reporter: Reporter,
) -> Evidence:
    """The evidence about the networks as they will be shipped. The confirm split decides nothing but the verdict."""
    data = loaded.data
    arms = _ask(data, baseline, recovered, device, reporter) if data else (None, None)
    splits: dict[str, SplitInfo | None] = {**(data.splits.infos() if data else {}), "search": None}
    return audit(
        AuditInputs(
            task=data.task if data else "unlabelled",
            recipe=recipe,
            structure=_structure(loaded.dense, recovered.pruned, pruned, data, recipe),
            macs_ratio=pruned.plan.macs_ratio,
            params_ratio=pruned.plan.params_ratio,
            confirm=arms[0],
            train=arms[1],
            splits=splits,
            disjoint=data.splits.disjoint if data else True,
            duplicates_removed=data.splits.duplicates_removed if data else 0,
            class_names=data.dataset.class_names if data else None,
            image_of=_image_of(data) if data and data.train.has_images else None,
        )
    )


def _ask(
    data: Data, baseline: Baseline, recovered: Recovered, device: torch.device, reporter: Reporter
) -> tuple[Arms, Arms]:
    """Answers on the confirm split and on un-augmented training samples."""
    assert baseline.confirm is not None
    assert baseline.train is not None
    questions = [
        (network, samples, f"{name} model on {what}")
        for samples, what in ((data.confirm, "the confirm split"), (data.calibration, "training samples"))
        for network, name in ((recovered.twin, "twin"), (recovered.pruned, "pruned"))
    ]
    share = 1 / len(questions)
    answers = [
        watched_predictions(network, samples, device, Portion(reporter, i * share, share), what)
        for i, (network, samples, what) in enumerate(questions)
    ]
    return Arms(baseline.confirm, answers[0], answers[1]), Arms(baseline.train, answers[2], answers[3])


def _structure(dense: Network, final: Network, pruned: Shrunk, data: Data | None, recipe: Recipe) -> Structure:
    some = replace(data.calibration, rows=data.calibration.rows[:DEAD_CHANNEL_SAMPLES]) if data else None
    layers = [
        LayerChange(
            name=layer.name,
            op=layer.op,
            group=layer.groups[0] if layer.groups else None,
            channels=layer.channels,
            channels_kept=layer.channels_kept,
            requested_keep=layer.requested_keep,
            params=layer.params,
            params_kept=layer.params_kept,
            macs=layer.macs,
            macs_kept=layer.macs_kept,
            gone=layer.gone,
        )
        for layer in pruned.plan.layers
    ]
    return Structure(
        layers=layers,
        empty_layers=[layer.name for layer in layers if layer.channels_kept == 0 and not layer.gone],
        dead_channels=count_dead_channels(final, some) if some else 0,
        dead_channels_dense=count_dead_channels(dense, some) if some else 0,
        max_relative_error=pruned.self_check,
        blocked=[f"{blocked.op}: {blocked.why}" for blocked in pruned.structure.blocked],
        sparsity=_sparsity(final, pruned, recipe),
    )


def _sparsity(final: Network, pruned: Shrunk, recipe: Recipe) -> Sparsity | None:
    if pruned.masks is None or recipe.target.sparsity is None:
        return None
    planned = sparse_plan(pruned.structure, final, pruned.masks, recipe.prune, recipe.target.sparsity)
    return measured_sparsity(final, planned)


def _image_of(data: Data) -> "_Images":
    return _Images(data)


class _Images:
    """Pictures of samples for the report, as people would see them: before normalisation."""

    def __init__(self, data: Data) -> None:
        self._source = next(source for source in data.transform.sources if source.layout is not None)
        self._samples = data.dataset.arrays[self._source.array]

    def __call__(self, row: int) -> npt.NDArray[np.uint8] | None:
        """uint8 (H, W), (H, W, 1) or (H, W, 3); None for other numbers of channels."""
        image = self._samples[row]
        if image.ndim == 3 and self._source.layout == "nchw":
            image = image.transpose(1, 2, 0)
        if image.ndim == 3 and image.shape[2] not in (1, 3):
            return None
        if image.dtype == np.uint8:
            return np.asarray(image, dtype=np.uint8)
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = float(values.min()), float(values.max())
        return np.asarray(255 * (values - low) / max(high - low, 1e-12), dtype=np.uint8)
