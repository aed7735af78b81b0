"""Effective sparsity: zeros, and weights that might as well be zero because nothing reaches them or leaves them."""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from worker.graph.network import Network
from worker.graph.shapes import example_inputs

__all__ = ["contributing"]

aten = torch.ops.aten

_BATCH = 2
_LEAK = 0.1
_ROUNDING = 1e-6

_Choice = Callable[[fx.Node], Any]

# Ops with flat parts, on which a signal would be lost that other inputs let through.
_CLIPPED = frozenset(
    {
        *(aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.hardswish.default),
        *(aten.hardsigmoid.default, aten.clamp.default, aten.clamp_min.default, aten.threshold.default),
    }
)


def contributing(network: Network, names: Collection[str]) -> dict[str, Tensor] | None:
    """Which entries of the weights called `names` lie on a path from an input to an output, as booleans.

    An entry contributes if it is not zero, what it is multiplied with changes with the input of the network, and what
    it adds to changes an output. Vysogorets and Kempe, Connectivity Matters: Neural Network Pruning Through the Lens
    of Effective Sparsity, JMLR 2023, §3. Found by running the network on two random inputs: an entry counts if the
    gradient of a random mix of the outputs, taken at the difference of the two, is not zero. Rectifiers let everything
    through in part, so that a unit which these inputs do not excite is not mistaken for a disconnected one. None where
    an answer or a gradient is not a number.
    """
    first, second = (example_inputs(network, _BATCH, seed) for seed in (1, 2))
    with torch.enable_grad():
        base = _Probe(network, names)
        base.run(*first)
        probe = _Probe(network, names, base.seen)
        answers = [answer for answer in probe.run(*second) if answer.requires_grad]
        generator = torch.Generator().manual_seed(0)
        mixed = [(answer * torch.rand(answer.shape, generator=generator)).sum() for answer in answers]
        tracked = list(probe.weights.values())
        gradients = torch.autograd.grad(mixed, tracked, allow_unused=True) if mixed else [None] * len(tracked)
    found = {}
    for (name, weight), gradient in zip(probe.weights.items(), gradients, strict=True):
        if gradient is not None and not gradient.isfinite().all():
            return None
        found[name] = (
            torch.zeros_like(weight, dtype=torch.bool) if gradient is None else (gradient != 0) & (weight != 0)
        )
    return found


class _Probe(fx.Interpreter):
    """Runs the graph. An op that reads one of the weights sends its gradient there as if its input were the difference
    to the input that the same op had in another run, `base`; everywhere else weights are constants.

    `seen` keeps what enters these ops, by the node that made it.
    """

    def __init__(self, network: Network, names: Collection[str], base: dict[fx.Node, Any] | None = None) -> None:
        super().__init__(network.module, garbage_collect_values=base is not None)
        parameters = dict(network.parameters())
        self.weights = {name: parameters[name].detach().requires_grad_() for name in names}
        self.seen: dict[fx.Node, Any] = {}
        self._base = base
        self._of_weights: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        sources = n.all_input_nodes
        if n.op == "get_attr":
            self._of_weights.add(n)
            tracked = self.weights.get(str(n.target))
            return super().run_node(n) if tracked is None else tracked
        if n.op != "call_function" or not sources:
            return super().run_node(n)
        if all(source in self._of_weights for source in sources):
            self._of_weights.add(n)  # a weight that is transposed, or cut into parts
            return super().run_node(n)
        if n.target in _CLIPPED:
            return functional.leaky_relu(self.env[sources[0]], _LEAK)
        if any(source in self._of_weights and _requires_grad(self.env[source]) for source in sources):
            return self._weighted(n)
        return super().run_node(n)

    def _weighted(self, n: fx.Node) -> Any:
        """The value of the op. Its input gets the whole gradient, its weight that of the difference."""

        def call(weights: _Choice, others: _Choice) -> Any:
            def choose(source: fx.Node) -> Any:
                return (weights if source in self._of_weights else others)(source)

            target: Any = n.target
            kwargs: Any = fx.map_arg(n.kwargs, choose)
            return target(*fx.map_arg(n.args, choose), **kwargs)

        result = call(self._constant, self.env.__getitem__)
        if self._base is None:
            self.seen.update((source, self.env[source]) for source in n.all_input_nodes)
        elif isinstance(result, Tensor):
            difference = call(self.env.__getitem__, self._constant) - call(self.env.__getitem__, self._before)
            result = result + difference - difference.detach()
        return result

    def _constant(self, source: fx.Node) -> Any:
        value = self.env[source]
        return value.detach() if isinstance(value, Tensor) else value

    def _before(self, source: fx.Node) -> Any:
        """What the node made in the other run; what differs by rounding alone does not differ."""
        assert self._base is not None
        now, before = self._constant(source), self._base[source]
        if not isinstance(now, Tensor) or not now.is_floating_point():
            return before
        return torch.where((now - before).abs() <= _ROUNDING * now.abs(), now, before)


def _requires_grad(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
