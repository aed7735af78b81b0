"""What enters the layers: sums of squares and second moments of their inputs, measured on samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from worker.graph.arguments import bind
from worker.graph.network import Network
from worker.graph.tensors import device_of
from worker.pruning.scoring import Scene, samples_of

__all__ = ["MOST_INPUTS", "input_energy", "input_moments"]

aten = torch.ops.aten

_BATCH = 32
MOST_INPUTS = 8192
"""Second moments of more inputs than these would take gigabytes."""

# Argument names of the input and of the weight of every op that is linear in both, by the name of the op.
_LINEAR: dict[str, tuple[str, str]] = {
    "aten.linear": ("input", "weight"),
    "aten.addmm": ("mat1", "mat2"),
    "aten.mm": ("self", "mat2"),
    "aten.matmul": ("self", "other"),
    **{f"aten.{kind}{rank}d": ("input", "weight") for kind in ("conv", "conv_transpose") for rank in (1, 2, 3)},
    "aten.convolution": ("input", "weight"),
}


def input_energy(scene: Scene, criterion: str) -> dict[str, Tensor]:
    """`E[Σ x²]` for every entry of the weight of every linear layer: the sum, over the positions of a sample, of the
    squares of the inputs that the entry is multiplied with. Shape of the weight, in float64.

    A layer is linear in its weight, so the gradient of `Σ layer(x², W)` by W is that sum, whatever its stride, padding
    or groups.
    """
    found: dict[str, Tensor] = {}

    def see(name: str, reading: "Reading") -> None:
        with torch.enable_grad():
            probe = reading.weight.detach().requires_grad_()
            (energy,) = torch.autograd.grad(reading.call(reading.value.square(), probe).sum(), probe)
        found[name] = found.get(name, torch.zeros_like(energy, dtype=torch.float64)) + energy.double()

    count = _watch(scene, criterion, see)
    return {name: energy / count for name, energy in found.items()}


def input_moments(scene: Scene, criterion: str) -> dict[str, Tensor]:
    """`H = E[Σ x xᵀ]` for the layers whose inputs can be laid out as columns, by the name of the weight: (K, K) in
    float64, K the entries of one output's weight in their order. These are linear layers, and convolutions of one group
    in one or two dimensions, of at most `MOST_INPUTS` inputs.
    """
    found: dict[str, Tensor] = {}

    def see(name: str, reading: "Reading") -> None:
        columns = _columns(reading.node, reading.value, reading.weight)
        if columns is not None:
            moment = columns.T @ columns
            found[name] = found.get(name, torch.zeros_like(moment, dtype=torch.float64)) + moment.double()

    count = _watch(scene, criterion, see)
    return {name: moment / count for name, moment in found.items()}


def _columns(node: fx.Node, value: Tensor, weight: Tensor) -> Tensor | None:
    """(positions, K), or None."""
    name = str(node.target).rpartition(".")[0]
    arguments = bind(node)
    if name in ("aten.linear", "aten.addmm", "aten.mm", "aten.matmul"):
        columns = value.reshape(-1, value.shape[-1])
    elif name in ("aten.conv1d", "aten.conv2d") and arguments.get("groups", 1) == 1:
        rank = weight.dim() - 2
        settings = {key: _pair(arguments.get(key), rank, default) for key, default in _WINDOW.items()}
        if None in settings.values():
            return None
        image = value if rank == 2 else value[:, :, None]
        unfolded = functional.unfold(image, (weight.shape[2:] if rank == 2 else (1, weight.shape[2])), **settings)  # type: ignore[arg-type]
        columns = unfolded.transpose(1, 2).reshape(-1, unfolded.shape[1])
    else:
        return None
    return columns if columns.shape[1] <= MOST_INPUTS else None


_WINDOW = {"stride": 1, "padding": 0, "dilation": 1}


def _pair(argument: Any, rank: int, default: int) -> tuple[int, int] | None:
    """A setting of a window for two dimensions; None where it is no number."""
    if argument is None or argument == []:
        return (default, default)
    values = [argument] if isinstance(argument, int) else argument
    if not isinstance(values, list | tuple) or not all(isinstance(value, int) for value in values):
        return None
    values = list(values) * rank if len(values) == 1 else list(values)
    return (values[0], values[1]) if rank == 2 else (default, values[0])


@dataclass(frozen=True)
class Reading:
    """A linear layer reading its input. `call(value, weight)` is the op without its bias."""

    node: fx.Node
    value: Tensor
    weight: Tensor
    call: Callable[[Tensor, Tensor], Tensor]


See = Callable[[str, Reading], None]


def _watch(scene: Scene, criterion: str, see: See) -> int:
    """Run all samples and show every linear layer with its input; the number of samples."""
    samples = samples_of(scene, criterion)
    watcher = _Watcher(scene.network, {layer.weight for layer in scene.structure.layers}, see)
    device = device_of(scene.network)
    done = 0
    with torch.no_grad():
        for batch in samples.batches(_BATCH):
            watcher.run(*(value.to(device) for value in batch.inputs))
            done += len(batch.rows)
            scene.progress(done / len(samples))
    return max(done, 1)


class _Watcher(fx.Interpreter):
    def __init__(self, network: Network, weights: set[str], see: See) -> None:
        super().__init__(network.module)
        self._weights = weights
        self._see = see

    def run_node(self, n: fx.Node) -> Any:
        names = _LINEAR.get(str(n.target).rpartition(".")[0]) if n.op == "call_function" else None
        if names is not None:
            arguments = bind(n)
            source, weight = (arguments.get(name) for name in self._existing(names, arguments))
            if isinstance(weight, fx.Node) and isinstance(source, fx.Node) and str(weight.target) in self._weights:
                loaded = {name: self._load(argument) for name, argument in arguments.items()}
                call = self._caller(n, loaded, names, arguments)
                self._see(str(weight.target), Reading(n, self.env[source], self.env[weight], call))
        return super().run_node(n)

    @staticmethod
    def _existing(names: tuple[str, str], arguments: dict[str, Any]) -> tuple[str, str]:
        first, second = names
        return (first if first in arguments else "input", second)

    def _load(self, argument: Any) -> Any:
        return fx.map_arg(argument, lambda node: self.env[node])

    def _caller(
        self, n: fx.Node, loaded: dict[str, Any], names: tuple[str, str], arguments: dict[str, Any]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The op as a function of its input and its weight, without a bias."""
        first, second = self._existing(names, arguments)
        target: Any = n.target

        def call(value: Tensor, weight: Tensor) -> Tensor:
            given = {**loaded, first: value, second: weight}
            if "bias" in given:
                given["bias"] = None
            if target is aten.addmm.default:
                return value @ weight
            result: Tensor = target(**given)
            return result

        return call
