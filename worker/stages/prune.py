"""prune: remove what the network can spare, in steps that survive a restart."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from service.contract.recipe import Recipe
from service.contract.report import EpochRecord
from worker.graph.inner import Inner, inner_values
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure
from worker.graph.surgery import remove
from worker.pruning.criteria import CRITERIA
from worker.pruning.masks import Masks, masked
from worker.pruning.plan import Plan
from worker.pruning.prune import Pruned, Unfinished, prune, unpruned
from worker.pruning.schedule import milestones
from worker.pruning.scoring import Scene
from worker.pruning.sparsify import sparsify
from worker.pruning.trial import Trial
from worker.reporter import Portion, Reporter
from worker.stages.laps import laps_of, steps_of
from worker.stages.load import Data
from worker.stages.rounds import Rounds, history
from worker.training.checkpoint import CheckpointStore
from worker.training.movement import Movement
from worker.training.weights import copy_network, load_weights, weights_of

__all__ = ["Shrunk", "prune_in_steps"]

# Names of the checkpoints, and of what is in the second.
_UNITS, _WEIGHTS = "prune", "sparsify"
_NETWORK, _MASKS = "weights/", "masks/"


@dataclass(frozen=True)
class Shrunk:
    """What is left. `masks` say which weights stay zero, None where all may be anything; `epochs` is the training that
    went on between the steps."""

    network: Network
    plan: Plan
    structure: Structure
    selection: Selection
    self_check: float
    inner: tuple[Inner, ...]
    masks: Masks | None = None
    epochs: list[EpochRecord] = field(default_factory=list)

    def rewound(self, start: Network, recipe: Recipe) -> Network:
        """What the last round of training starts from: the network, or with rewinding what is left of the weights that
        were uploaded."""
        if recipe.prune.schedule.rewind != "weights":
            return self.network
        return _rewound(start, self.structure, self.selection, self.masks)


def prune_in_steps(
    start: Network,
    data: Data | None,
    recipe: Recipe,
    device: torch.device,
    checkpoints: CheckpointStore,
    reporter: Reporter,
) -> Shrunk:
    """Prune to the target, units first and then single weights, going on after the last finished step of an earlier
    attempt.

    Between steps the statistics are measured anew and the network is trained, as far as the recipe says so: scores of
    a network whose batch norms are off say little. Raises TargetUnreachable, NothingRemoved, SelfCheckFailed,
    TrainingDiverged.
    """
    units, weights = steps_of(recipe)
    work = _Prune(start, data, recipe, device, checkpoints)
    share = units / (units + weights)
    pruned = work.units(Portion(reporter, 0.0, share)) if units else unpruned(start)
    shrunk = Shrunk(pruned.network, pruned.plan, pruned.structure, pruned.selection, pruned.self_check, pruned.inner)
    if weights:
        shrunk = work.weights(shrunk, units, Portion(reporter, share, 1 - share))
    return replace(shrunk, epochs=work.epochs)


class _Prune:
    """The two parts of a prune, and the rounds of training between their steps."""

    def __init__(
        self, start: Network, data: Data | None, recipe: Recipe, device: torch.device, checkpoints: CheckpointStore
    ) -> None:
        self._start, self._data, self._recipe, self._checkpoints = start, data, recipe, checkpoints
        self._rounds = Rounds(start, data, recipe, device, checkpoints) if data else None
        self._laps = laps_of(recipe)
        self._movement = Movement() if recipe.prune.criterion == "movement" else None
        self.epochs: list[EpochRecord] = []

    def units(self, reporter: Reporter) -> Pruned:
        """Whole channels, heads, neurons and blocks."""
        recipe, data = self._recipe, self._data

        def remember(plan: Plan, network: Network) -> None:
            self._checkpoints.save(_UNITS, weights_of(network), plan.model_dump(mode="json"))

        def between(network: Network, step: int, structure: Structure, selection: Selection) -> Network:
            return self._train(network, step, structure, selection, None, reporter)

        earlier = self._checkpoints.load(_UNITS)
        with tempfile.TemporaryDirectory() as scratch:
            return prune(
                self._start,
                recipe.prune,
                recipe.target,
                data.calibration if data else None,
                data.task if data else "unlabelled",
                recipe.seed,
                reporter,
                on_step=remember,
                resume=Unfinished(Plan.model_validate(earlier.meta), earlier.tensors) if earlier else None,
                between=between,
                movement=self._movement,
                trial=Trial(self._start, recipe.target, recipe.export.opset, Path(scratch), reporter),
            )

    def weights(self, whole: Shrunk, first: int, reporter: Reporter) -> Shrunk:
        """Single weights of what the units have left. `first` is the number of steps that went before."""
        recipe, data = self._recipe, self._data
        assert recipe.target.sparsity is not None
        shares = milestones(recipe.prune.schedule, 1 - recipe.target.sparsity)
        criterion = CRITERIA[recipe.prune.criterion or "magnitude"]
        network, masks, done = self._reached(whole.network)
        for index in range(done, len(shares)):
            part = Portion(reporter, index / len(shares), 1 / len(shares))
            if first + index:
                network = self._train(network, first + index - 1, whole.structure, whole.selection, masks, part)
            message = f"sparsifying, step {index + 1} of {len(shares)}"
            scene = Scene(
                self._start,
                network,
                whole.structure,
                whole.selection,
                data.calibration if data else None,
                data.task if data else "unlabelled",
                recipe.prune,
                recipe.seed,
                lambda fraction, part=part, message=message: part.progress(fraction, message),  # type: ignore[misc]
                masks,
                None if self._movement is None else self._movement.scores,
            )
            network, masks = sparsify(scene, criterion, recipe.target.sparsity, shares[index])
            tensors = {f"{_NETWORK}{name}": tensor for name, tensor in weights_of(network).items()}
            tensors |= {f"{_MASKS}{name}": mask for name, mask in masks.items()}
            self._checkpoints.save(_WEIGHTS, tensors, {"steps": index + 1})
        return replace(whole, network=network, masks=masks)

    def _reached(self, network: Network) -> tuple[Network, Masks | None, int]:
        """Where an earlier attempt left the weights, its masks, and the number of its steps."""
        earlier = self._checkpoints.load(_WEIGHTS)
        if earlier is None:
            return network, None, 0
        reached = copy_network(network)
        load_weights(reached, _under(earlier.tensors, _NETWORK))
        return reached, _under(earlier.tensors, _MASKS), int(earlier.meta["steps"])

    def _train(
        self,
        network: Network,
        step: int,
        structure: Structure,
        selection: Selection,
        masks: Masks | None,
        reporter: Reporter,
    ) -> Network:
        """What the recipe does after step `step`, counted over both parts."""
        if self._rounds is None:
            return network
        if self._recipe.prune.schedule.epochs == 0:
            return self._rounds.refreshed(network)
        if self._recipe.prune.schedule.rewind == "weights":
            network = _rewound(self._start, structure, selection, masks)
        lap = self._laps[step]
        inner = inner_values(structure, selection)
        trained = self._rounds.treat(network, "pruned", lap, inner, Portion(reporter, 0.0, 0.0), masks, self._movement)
        self.epochs += history(trained.epochs, first=step == 0, last=False)
        return trained.network


def _rewound(start: Network, structure: Structure, selection: Selection, masks: Masks | None) -> Network:
    """What is left of the weights as they were before the prune."""
    network = remove(start, structure, selection)
    return network if masks is None else masked(network, masks)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
