"""Gradients of the loss with respect to weights, on the samples of a scene."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worker.data.batches import Batch
from worker.graph.network import Network
from worker.graph.tensors import device_of
from worker.pruning.scoring import Scene, samples_of
from worker.training.weights import copy_network

__all__ = ["Differentiable", "balanced", "classes_of", "loss_of", "mean_gradients", "squared_gradients"]

# Squares of single samples' gradients cost a backward pass each; their mean is known well enough with this many.
_SINGLES = 256
_BATCH = 64

Gradients = dict[str, Tensor]


def loss_of(output: Tensor, inputs: tuple[Tensor, ...], labels: Tensor | None, scene: Scene) -> Tensor:
    """Sum of the losses of the samples.

    Cross-entropy against the labels, or against the class that the dense model predicts; for regression the squared
    error, or half the squared output where there are no targets.
    """
    flat = output.flatten(1)
    if labels is not None:
        labels = labels.to(output.device)
        if scene.task == "regression":
            return (flat - labels.reshape(flat.shape)).square().sum()
        return nn.functional.cross_entropy(flat, labels, reduction="sum")
    if scene.task == "regression" or flat.shape[1] == 1:
        return flat.square().sum() / 2
    return nn.functional.cross_entropy(flat, _predicted(inputs, scene), reduction="sum")


def classes_of(inputs: tuple[Tensor, ...], labels: Tensor | None, scene: Scene) -> Tensor:
    """(B,): the class of every sample, as labelled or as the dense model predicts it."""
    return _predicted(inputs, scene) if labels is None else labels


def _predicted(inputs: tuple[Tensor, ...], scene: Scene) -> Tensor:
    with torch.no_grad():
        return scene.dense(*inputs)[0].flatten(1).argmax(1)


def balanced(by_class: dict[int, Gradients]) -> Gradients:
    """What matters to the class that needs it most: `max over classes g of I_g ÷ Σ I_g`, times the mean of the sums,
    so that the sizes stay those of a loss. Like the shares of Lin et al., FairGRAPE, ECCV 2022, §3.2, with a maximum
    in place of a greedy choice."""
    sums = {group: float(sum(value.double().sum() for value in found.values())) for group, found in by_class.items()}
    mean = sum(sums.values()) / max(len(sums), 1)
    best: Gradients = {}
    for group, found in by_class.items():
        for name, value in found.items():
            scaled = value * (mean / sums[group] if sums[group] else 0.0)
            best[name] = torch.maximum(best[name], scaled) if name in best else scaled
    return best


@dataclass(frozen=True)
class Differentiable:
    """A copy of the scene's network whose layers' weights, and nothing else, ask for gradients."""

    scene: Scene
    network: Network
    weights: dict[str, nn.Parameter]

    @classmethod
    def of(cls, scene: Scene) -> "Differentiable":
        network = copy_network(scene.network)
        names = {layer.weight for layer in scene.structure.layers}
        weights = {}
        for name, parameter in network.parameters():
            parameter.requires_grad_(name in names and parameter.is_floating_point())
            if parameter.requires_grad:
                weights[name] = parameter
        return cls(scene, network, weights)

    def gradients(self, batch: Batch, temperature: float = 1.0) -> Gradients:
        """Of the sum of the losses of the batch, with the outputs divided by `temperature`."""
        device = device_of(self.network)
        inputs = tuple(value.to(device) for value in batch.inputs)
        with torch.enable_grad():
            output = self.network(*inputs)[0] / temperature
            loss = loss_of(output, inputs, batch.labels, self.scene)
            found = torch.autograd.grad(loss, list(self.weights.values()), materialize_grads=True)
        return dict(zip(self.weights, found, strict=True))

    @torch.no_grad()
    def shift(self, directions: Gradients, step: float) -> None:
        """Move every weight by `step` times its direction, in place."""
        for name, weight in self.weights.items():
            weight.add_(directions[name], alpha=step)


def mean_gradients(scene: Scene, criterion: str) -> tuple[Differentiable, dict[int, Gradients]]:
    """Gradients of the mean loss over all samples, under number 0; with `prune.balance` over those of each class."""
    model, samples = Differentiable.of(scene), samples_of(scene, criterion)
    totals: dict[int, Gradients] = {}
    counts: dict[int, int] = {}
    done = 0
    for batch in samples.batches(_BATCH):
        for group, part in _by_class(batch, scene):
            total = totals.setdefault(group, {name: torch.zeros_like(value) for name, value in model.weights.items()})
            for name, gradient in model.gradients(part).items():
                total[name] += gradient
            counts[group] = counts.get(group, 0) + len(part.rows)
        done += len(batch.rows)
        scene.progress(done / len(samples))
    return model, {
        group: {name: value / counts[group] for name, value in total.items()} for group, total in totals.items()
    }


def _by_class(batch: Batch, scene: Scene) -> Iterator[tuple[int, Batch]]:
    if scene.prune.balance == "none":
        yield 0, batch
        return
    classes = classes_of(batch.inputs, batch.labels, scene)
    for group in sorted(set(classes.tolist())):
        rows = classes == group
        labels = None if batch.labels is None else batch.labels[rows]
        yield group, Batch(tuple(value[rows] for value in batch.inputs), labels, batch.rows[rows])


def squared_gradients(scene: Scene, criterion: str, transform: Callable[[Tensor, Tensor], Tensor]) -> Gradients:
    """Mean of `transform(weight, gradient)` over single samples: the square of a batch's gradient is another thing.

    Up to 256 samples, spread over the split. With `prune.balance` per class, as `balanced` joins them.
    """
    model = Differentiable.of(scene)
    by_class: dict[int, Gradients] = {}
    counts: dict[int, int] = {}
    for done, batch in enumerate(_singly(scene, criterion)):
        group = int(classes_of(batch.inputs, batch.labels, scene)[0]) if scene.prune.balance == "class" else 0
        total = by_class.setdefault(group, {name: torch.zeros_like(value) for name, value in model.weights.items()})
        for name, gradient in model.gradients(batch).items():
            total[name] += transform(model.weights[name].detach(), gradient)
        counts[group] = counts.get(group, 0) + 1
        scene.progress(min(1.0, done / _SINGLES))
    means = {group: {name: value / counts[group] for name, value in total.items()} for group, total in by_class.items()}
    return means[0] if scene.prune.balance == "none" else balanced(means)


def _singly(scene: Scene, criterion: str) -> Iterator[Batch]:
    samples = samples_of(scene, criterion)
    every = max(1, len(samples) // _SINGLES)
    for index, batch in enumerate(samples.batches(1)):
        if index % every == 0 and index // every < _SINGLES:
            yield batch
