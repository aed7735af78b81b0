"""prune: remove what the network can spare, in steps that survive a restart."""

import torch

from service.contract.recipe import Recipe
from worker.graph.network import Network
from worker.pruning.plan import Plan
from worker.pruning.prune import Pruned, Unfinished, prune
from worker.reporter import Reporter
from worker.stages.load import Data
from worker.training.checkpoint import CheckpointStore
from worker.training.normalization import recalibrate
from worker.training.weights import weights_of

__all__ = ["prune_in_steps"]

_CHECKPOINT = "prune"


def prune_in_steps(
    start: Network,
    data: Data | None,
    recipe: Recipe,
    device: torch.device,
    checkpoints: CheckpointStore,
    reporter: Reporter,
) -> Pruned:
    """Prune to the target, going on after the last finished step of an earlier attempt.

    Statistics are measured anew between steps where the recipe allows it: scores of a network whose batch norms are
    off say little. Raises TargetUnreachable, NothingRemoved, SelfCheckFailed.
    """

    def remember(plan: Plan, network: Network) -> None:
        checkpoints.save(_CHECKPOINT, weights_of(network), plan.model_dump(mode="json"))

    def refresh(network: Network) -> Network:
        return recalibrate(network, data.calibration, device=device) if data else network

    earlier = checkpoints.load(_CHECKPOINT)
    return prune(
        start,
        recipe.prune,
        recipe.target,
        data.calibration if data else None,
        data.task if data else "unlabelled",
        recipe.seed,
        reporter,
        on_step=remember,
        resume=Unfinished(Plan.model_validate(earlier.meta), earlier.tensors) if earlier else None,
        between=refresh if recipe.finetune.recalibrate else None,
    )
