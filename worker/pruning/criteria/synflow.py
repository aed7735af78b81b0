"""Weights on paths that carry much of the signal matter, whatever the data."""

from typing import ClassVar

import torch
from torch import Tensor

from worker.errors import JobFailed
from worker.graph.shapes import example_inputs
from worker.pruning.scoring import Scene, Scores
from worker.pruning.units import units_of
from worker.training.mode import is_batch_norm, running_statistics
from worker.training.weights import copy_network

__all__ = ["SynFlow"]


class SynFlow:
    """`I(w) = w · ∂R/∂w` with `R = 1ᵀ (Π |W|) 1`, the answer to an input of ones of the network with all parameters
    made positive. Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow,
    NeurIPS 2020, eq. 1; batch norms divide by their own deviation, and shift nothing. Made for many exponential steps:
    with 100 of them no layer collapses.

    Needs no data. Sums that leave double precision raise JobFailed. Inputs of whole numbers keep an example of theirs.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        return units_of(scene, self.entries(scene))

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        network = copy_network(scene.network)
        module = network.module.double()
        means = {running_statistics(node)[0] for node in module.graph.nodes if is_batch_norm(node)}
        names = {layer.weight for layer in scene.structure.layers}
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if name in means:
                    buffer.zero_()
            for name, parameter in module.named_parameters():
                parameter.abs_().requires_grad_(name in names)
        weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        inputs = tuple(
            torch.ones_like(value, dtype=torch.float64) if value.is_floating_point() else value
            for value in example_inputs(network)
        )
        with torch.enable_grad():
            signal = sum((output.sum() for output in network(*inputs)), torch.zeros((), dtype=torch.float64))
            found = torch.autograd.grad(signal, list(weights.values()), materialize_grads=True)
        scores = {name: weight.detach() * slope for (name, weight), slope in zip(weights.items(), found, strict=True)}
        if not all(value.isfinite().all() for value in scores.values()):
            raise JobFailed(
                "the criterion synflow multiplies the weights of all layers, and for this network the product is too "
                "large for double precision; use 'magnitude' or 'lamp'"
            )
        return scores
