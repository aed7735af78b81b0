"""The self-check of every prune: the pruned graph must compute what the masked dense graph computes.

The masked graph is run by an interpreter of its own, which slices nothing: every op runs at full width on the dense
weights, and what is removed is set to 0 after each op; so is the result of a branch that is left out. Means and
variances over channels are taken over the kept ones. A recurrent layer does not see between its steps what it made
before: there the columns that read it are 0. A wrong tie, a wrong index or a wrong size shows up as a difference.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from worker.errors import SelfCheckFailed, UnsupportedModel
from worker.graph.arguments import bind
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure
from worker.graph.surgery import cut, cut_graph, kept_entries
from worker.graph.values import Flow, Value

__all__ = ["check_cut", "self_check"]

aten = torch.ops.aten

_WAY_OUT = "Protect the layers around this op with prune.protect, and report the model"


def self_check(
    dense: Network, pruned: Network, structure: Structure, selection: Selection, example: tuple[Tensor, ...]
) -> float:
    """Largest |pruned − masked dense| over all outputs, divided by the largest |masked dense| of that output.

    Infinite when the answers differ in shape or are not finite. Raises SelfCheckFailed, which names the node, when one
    of the two does not run.
    """
    return _compared(_Watched(pruned.module), _MaskedDense(dense, structure, selection), example)


def check_cut(dense: Network, structure: Structure, selection: Selection, example: tuple[Tensor, ...]) -> float:
    """`self_check` of what `remove` makes of the dense weights, without making it: every tensor is cut when it is read
    and given up when it was used, so that the check takes the memory of a layer and not of a network."""
    try:
        pruned = _Cutting(dense, structure, selection)
    except UnsupportedModel as error:
        raise SelfCheckFailed(f"the pruned network is broken: {error.detail}. {_WAY_OUT}") from error
    return _compared(pruned, _MaskedDense(dense, structure, selection), example)


def _compared(pruned: "_Watched", masked: "_MaskedDense", example: tuple[Tensor, ...]) -> float:
    answers, expected = (
        _answers(network, what, example) for network, what in ((pruned, "pruned"), (masked, "masked dense"))
    )
    return max((_difference(answer, wanted) for answer, wanted in zip(answers, expected, strict=True)), default=0.0)


def _answers(network: "_Watched", what: str, example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    try:
        with torch.no_grad():
            answers: tuple[Tensor, ...] = network.run(*example)
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, AssertionError) as error:
        # After the first line torch tells what it knows of the graph.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SelfCheckFailed(f"the {what} network does not run: {network.at}: {reason}. {_WAY_OUT}") from error
    return answers


def _difference(answer: Tensor, wanted: Tensor) -> float:
    if answer.shape != wanted.shape or not (answer.isfinite().all() and wanted.isfinite().all()):
        return float("inf")
    scale = wanted.double().abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    return float((answer.double() - wanted.double()).abs().max() / scale)


class _Watched(fx.Interpreter):
    """Knows which node it is at."""

    at = ""

    def run_node(self, n: fx.Node) -> Any:
        self.at = f"{n.name} ({n.target})"
        return super().run_node(n)


class _Cutting(_Watched):
    """Runs the pruned graph on the dense tensors, each cut when it is read."""

    def __init__(self, dense: Network, structure: Structure, selection: Selection) -> None:
        graph = cut_graph(structure, selection)
        _read_late(graph)
        super().__init__(dense.module, graph=graph)
        self._structure, self._selection, self._before = structure, selection, structure.everything()

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        kept = kept_entries(self._structure, str(target), self._selection, self._before)
        return cut(super().get_attr(target, args, kwargs), kept)


def _read_late(graph: fx.Graph) -> None:
    """Put every tensor in front of its first reader: exported graphs read all of them first, and hold them until
    then."""
    position = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.find_nodes(op="get_attr"):
        if node.users:
            min(node.users, key=position.__getitem__).prepend(node)


class _MaskedDense(_Watched):
    def __init__(self, dense: Network, structure: Structure, selection: Selection) -> None:
        super().__init__(dense.module)
        self._flows = structure.flows
        self._claims = structure.claims
        self._selection = selection
        self._left_out = {block.branch for block in structure.blocks if not selection[block.component]}

    def run_node(self, n: fx.Node) -> Any:
        self.at = f"{n.name} ({n.target})"
        masked = _OVER_CHANNELS.get(n.target) if n.op == "call_function" else None
        if n.target in _RECURRENT:
            result = self._run_recurrent(n)
        elif masked is None:
            result = super().run_node(n)
        else:
            arguments = {name: self._load(argument) for name, argument in bind(n).items()}
            source = bind(n).get("input", bind(n).get("self"))
            assert isinstance(source, fx.Node)
            result = masked(arguments, self._mask(self._flows.get(source.name), arguments))
            if result is None:
                result = super().run_node(n)
        if n.name in self._left_out:
            return torch.zeros_like(result)
        return self._zero(result, self._flows.get(n.name))

    def _run_recurrent(self, n: fx.Node) -> Any:
        """The layer with 0 in every column that reads a removed unit. Rows are left alone: removed units go on making
        something that nobody reads."""
        arguments = bind(n)
        weights = [self._columns(source) for source in arguments["params"]]
        assert callable(n.target)
        return n.target(*self._load(n.args[:2]), weights, *self._load(n.args[3:]))

    def _columns(self, source: fx.Node) -> Tensor:
        weight: Tensor = self.env[source]
        for numbers in self._claims.get(str(source.target), ()):
            if weight.dim() == 2 and numbers.shape[1] > 1:
                weight = weight.masked_fill(~torch.from_numpy(self._selection[numbers]).to(weight.device), 0)
        return weight

    def _load(self, argument: Any) -> Any:
        return fx.map_arg(argument, lambda source: self.env[source])

    def _mask(self, flow: Flow, arguments: dict[str, Any]) -> Tensor | None:
        """Which entries of the argument are kept, as booleans of full size; None when all are."""
        if not isinstance(flow, Value):
            return None
        kept = torch.from_numpy(self._selection[flow.labels])
        if kept.all():
            return None
        tensor = arguments["input"] if "input" in arguments else arguments["self"]
        return kept.to(tensor.device).expand(tensor.shape)

    def _zero(self, result: Any, flow: Flow) -> Any:
        if isinstance(flow, tuple) and isinstance(result, list | tuple):
            return tuple(self._zero(item, part) for item, part in zip(result, flow, strict=True))
        if isinstance(flow, Value) and isinstance(result, Tensor):
            # Of a value without axes, numpy would make a number.
            kept = torch.from_numpy(np.asarray(self._selection[flow.labels])).to(result.device)
            return result if kept.all() else result.masked_fill(~kept, 0)
        return result


def _mean(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    if kept is None:
        return None
    axes, keepdim = arguments.get("dim") or list(range(kept.dim())), arguments.get("keepdim", False)
    count = kept.sum(axes, keepdim=keepdim).clamp_min(1)
    total: Tensor = arguments["self"].sum(axes, keepdim=keepdim)
    return total / count


def _moments(arguments: dict[str, Any], kept: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Variance and mean. `unbiased` is the older name of a correction of 1, which is the default of both."""
    if kept is None:
        return None
    x, keepdim = arguments["self"], arguments.get("keepdim", False)
    axes, correction = arguments.get("dim") or list(range(kept.dim())), arguments.get("correction")
    correction = int(arguments.get("unbiased", True)) if correction is None else correction
    count = kept.sum(axes, keepdim=True)
    mean = (x * kept).sum(axes, keepdim=True) / count
    variance = (((x - mean) * kept) ** 2).sum(axes, keepdim=True) / (count - correction)
    return (variance, mean) if keepdim else (_without(variance, axes), _without(mean, axes))


def _without(tensor: Tensor, axes: int | list[int]) -> Tensor:
    return tensor.squeeze(axes if isinstance(axes, int) else tuple(axes))


def _var(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    found = _moments(arguments, kept)
    return None if found is None else found[0]


def _std(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    found = _moments(arguments, kept)
    return None if found is None else found[0].sqrt()


def _std_mean(arguments: dict[str, Any], kept: Tensor | None) -> tuple[Tensor, Tensor] | None:
    found = _moments(arguments, kept)
    return None if found is None else (found[0].sqrt(), found[1])


def _layer_norm(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    if kept is None:
        return None
    x = arguments["input"]
    axes = list(range(x.dim() - len(arguments["normalized_shape"]), x.dim()))
    return _affine(_normalize(x, kept, axes, arguments.get("eps", 1e-5)), arguments)


def _rms_norm(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    if kept is None:
        return None
    x, eps = arguments["input"], arguments.get("eps")
    axes = list(range(x.dim() - len(arguments["normalized_shape"]), x.dim()))
    power = (x * kept).square().sum(axes, keepdim=True) / kept.sum(axes, keepdim=True).clamp_min(1)
    return _affine(x * torch.rsqrt(power + (torch.finfo(x.dtype).eps if eps is None else eps)), arguments)


def _group_norm(arguments: dict[str, Any], kept: Tensor | None) -> Tensor | None:
    if kept is None:
        return None
    x, groups = arguments["input"], arguments["num_groups"]
    split = (x.shape[0], groups, -1)
    normal = _normalize(x.reshape(split), kept.reshape(split), [2], arguments.get("eps", 1e-5)).reshape(x.shape)
    view = (1, -1, *([1] * (x.dim() - 2)))
    affine = {name: arguments[name].view(view) for name in ("weight", "bias") if arguments.get(name) is not None}
    return _affine(normal, affine)


def _normalize(x: Tensor, kept: Tensor, axes: list[int], eps: float) -> Tensor:
    count = kept.sum(axes, keepdim=True).clamp_min(1)
    mean = (x * kept).sum(axes, keepdim=True) / count
    variance = (((x - mean) * kept) ** 2).sum(axes, keepdim=True) / count
    return (x - mean) * torch.rsqrt(variance + eps)


def _affine(x: Tensor, arguments: dict[str, Any]) -> Tensor:
    if arguments.get("weight") is not None:
        x = x * arguments["weight"]
    return x if arguments.get("bias") is None else x + arguments["bias"]


_RECURRENT = frozenset({aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input})

_OVER_CHANNELS: dict[Any, Callable[[dict[str, Any], Tensor | None], Any]] = {
    aten.mean.dim: _mean,
    aten.mean.default: _mean,
    **dict.fromkeys((aten.var.default, aten.var.dim, aten.var.correction), _var),
    **dict.fromkeys((aten.std.default, aten.std.dim, aten.std.correction), _std),
    **dict.fromkeys((aten.var_mean.dim, aten.var_mean.correction), _moments),
    **dict.fromkeys((aten.std_mean.dim, aten.std_mean.correction), _std_mean),
    aten.layer_norm.default: _layer_norm,
    aten.rms_norm.default: _rms_norm,
    aten.group_norm.default: _group_norm,
}
