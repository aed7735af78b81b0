"""Learning what the dense network computes inside, not only what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from worker.graph.inner import Inner
from worker.graph.network import Network

__all__ = ["FeatureMatch"]


class _Observer(fx.Interpreter):
    """Runs a network and keeps the values of some nodes."""

    def __init__(self, network: Network, nodes: frozenset[str]) -> None:
        super().__init__(network.module)
        self._nodes = nodes
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._nodes:
            self.seen[n.name] = value
        return value


@dataclass(frozen=True)
class FeatureMatch:
    """Runs student and teacher side by side and compares what is inside.

    The loss is `Σ_l mean((s_l − t_l)²) ÷ mean(t_l²)`, over the values of `inner`, with the teacher's channels that the
    student does not have left out. Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015, eq. 3; no regressor
    is needed, because a pruned network has the very channels of the dense one. Relative, so that layers of any scale
    weigh the same.
    """

    student: Network
    teacher: Network
    inner: tuple[Inner, ...]

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(student's answers, teacher's answers, loss); answers are the first outputs, flattened to (B, C)."""
        nodes = frozenset(inner.node for inner in self.inner)
        student, teacher = _Observer(self.student, nodes), _Observer(self.teacher, nodes)
        with torch.no_grad():
            wanted = teacher.run(*inputs)[0].flatten(1)
        answers = student.run(*inputs)[0].flatten(1)
        loss = answers.new_zeros(())
        for inner in self.inner:
            target = teacher.seen[inner.node]
            if inner.kept is not None:
                target = target.index_select(inner.axis, torch.from_numpy(inner.kept).to(target.device))
            size = target.square().mean().clamp_min(torch.finfo(target.dtype).tiny)
            loss = loss + functional.mse_loss(student.seen[inner.node], target) / size
        return answers, wanted, loss
