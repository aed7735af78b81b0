"""How training moves the weights: towards zero or away from it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.graph.network import Network

__all__ = ["Movement"]


@dataclass
class Movement:
    """`scores[name] = −Σ_t w_t · ∂L/∂w_t` over the updates t of one round of training, in the shape of the weight.

    A weight that the loss pushes away from zero scores above 0, one that it pushes towards zero below 0. Sanh, Wolf
    and Rush, Movement Pruning: Adaptive Sparsity by Fine-Tuning, NeurIPS 2020, equation 1 and §4.
    """

    scores: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, scores: dict[str, Tensor], device: torch.device) -> None:
        """Go on from `scores`: none, or those that an interrupted round had reached."""
        self.scores = {name: score.to(device) for name, score in scores.items()}

    @torch.no_grad()
    def add(self, network: Network) -> None:
        """Take account of one update: after the backward pass, before the step."""
        for name, parameter in network.parameters():
            if parameter.grad is None:
                continue
            if name not in self.scores:
                self.scores[name] = torch.zeros_like(parameter)
            self.scores[name].addcmul_(parameter, parameter.grad, value=-1.0)
