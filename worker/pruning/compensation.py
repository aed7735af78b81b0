"""Let what stays answer for what goes: fold removed channels into the kept ones that predict them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx

from worker.data.batches import Samples
from worker.graph.network import Network
from worker.graph.structure import Selection, Structure
from worker.graph.values import Value
from worker.pruning.scoring import present
from worker.training.weights import copy_network

__all__ = ["compensate"]

aten = torch.ops.aten

_CONTRACTIONS = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default})
_WEIGHT, _BIAS = 1, 2  # positions among the arguments
_INPUT_AXIS = 1  # of the weights of all of these

_BATCH = 128
# Moments of a layer are averages over samples and positions; this many per batch know them well enough.
_MOST_POSITIONS = 8192
# Beyond this the moments of a flattened feature map cost more than fine-tuning wins back.
_MOST_CHANNELS = 2048
# Share of the mean variance that is added to every variance: channels that are almost copies of each other must not
# get large weights of opposite sign.
_RIDGE = 1e-3


@dataclass
class _Moments:
    """Sums over samples and positions of what enters an op: x and x xᵀ."""

    count: int
    total: Tensor
    square: Tensor


def compensate(
    network: Network, structure: Structure, before: Selection, after: Selection, samples: Samples
) -> Network:
    """A copy of `network` whose weights expect the cut from `before` to `after`.

    For every convolution or linear layer that sums over channels of which some will go, each of these is predicted from
    those that stay, `x_r ≈ Σ_k B_kr x_k + c_r`, by ridge regression over `samples` at single positions. Its weights are
    added to theirs, `W_k += Σ_r B_kr W_r`, and c to the bias. Where there is none, a batch norm that follows takes the
    offset, and without either c is 0. Chee et al., Model Preserving Compression for Neural Networks, NeurIPS 2022,
    eq. 3, with regression in place of an interpolative decomposition.

    Uses no labels. `structure` is that of the dense network, `network` what `before` has left of it.
    """
    affected = _affected(network, structure, before, after)
    if not affected:
        return network
    meter = _Meter(network, affected)
    with torch.inference_mode():
        for batch in samples.batches(_BATCH):
            meter.run(*batch.inputs)
    adapted = copy_network(network)
    parameters = dict(adapted.module.named_parameters())
    with torch.no_grad():
        for name, consumer in affected.items():
            moments = meter.moments.get(name)
            if moments is not None:
                _fold(parameters, consumer, moments)
    return adapted


@dataclass(frozen=True)
class _Consumer:
    """An op that loses inputs. `stays` is (channels of the network as it is,); `offset` says whether something can make
    up for a constant."""

    axis: int
    weight: str
    bias: str | None
    offset: bool
    stays: npt.NDArray[np.bool_]


def _affected(network: Network, structure: Structure, before: Selection, after: Selection) -> dict[str, _Consumer]:
    nodes = {node.name: node for node in network.module.graph.nodes}
    parameters = dict(network.module.named_parameters())
    uses = Counter(str(node.target) for node in nodes.values() for _ in node.users if node.op == "get_attr")
    found = {}
    for consumer in structure.consumers_of(before):
        node, flow = nodes[consumer.node], structure.flows[consumer.source]
        if node.target not in _CONTRACTIONS or not isinstance(flow, Value) or flow.tracked != [consumer.axis]:
            continue
        stays = after[present(flow.labels.reshape(-1), before)]
        weight, bias = _parameter(node, _WEIGHT), _parameter(node, _BIAS)
        if weight is None or weight not in parameters or stays.all() or not stays.any():
            continue
        if len(stays) > _MOST_CHANNELS or parameters[weight].shape[_INPUT_AXIS] != len(stays):
            continue
        if uses[weight] > 1:
            continue  # shared with another layer, whose inputs are others
        normalized = any(user.target is aten.batch_norm.default for user in node.users)
        found[node.name] = _Consumer(consumer.axis, weight, bias, bias is not None or normalized, stays)
    return found


def _parameter(node: fx.Node, position: int) -> str | None:
    argument = node.args[position] if len(node.args) > position else None
    return str(argument.target) if isinstance(argument, fx.Node) and argument.op == "get_attr" else None


class _Meter(fx.Interpreter):
    """Runs the network and sums the moments of what enters the affected ops."""

    def __init__(self, network: Network, affected: dict[str, _Consumer]) -> None:
        super().__init__(network.module)
        self._affected = affected
        self.moments: dict[str, _Moments] = {}

    def run_node(self, n: fx.Node) -> Any:
        consumer = self._affected.get(n.name)
        if consumer is not None:
            value: Tensor = self.fetch_args_kwargs_from_env(n)[0][0]
            rows = value.movedim(consumer.axis, -1).reshape(-1, value.shape[consumer.axis])
            rows = rows[:: max(1, len(rows) // _MOST_POSITIONS)].float()
            self._add(n.name, rows)
        return super().run_node(n)

    def _add(self, name: str, rows: Tensor) -> None:
        total, square = rows.sum(0).double(), (rows.T @ rows).double()
        seen = self.moments.get(name)
        if seen is None:
            self.moments[name] = _Moments(len(rows), total, square)
        else:
            seen.count += len(rows)
            seen.total += total
            seen.square += square


def _fold(parameters: dict[str, torch.nn.Parameter], consumer: _Consumer, moments: _Moments) -> None:
    stays = torch.from_numpy(consumer.stays).to(moments.total.device)
    mean = moments.total / moments.count
    covariance = moments.square / moments.count
    if consumer.offset:
        covariance = covariance - torch.outer(mean, mean)
    among, across = covariance[stays][:, stays], covariance[stays][:, ~stays]
    ridge = _RIDGE * float(among.diagonal().mean()) + torch.finfo(torch.float32).tiny
    among = among + ridge * torch.eye(len(among), dtype=among.dtype, device=among.device)
    prediction = torch.linalg.solve(among, across)  # (kept, removed)
    if not torch.isfinite(prediction).all():
        return
    weight = parameters[consumer.weight]
    gone = weight.detach()[:, ~stays].double()
    folded = torch.tensordot(gone, prediction, dims=([_INPUT_AXIS], [1])).movedim(-1, _INPUT_AXIS)
    weight[:, stays] = (weight.detach()[:, stays].double() + folded).to(weight.dtype)
    if consumer.bias is not None:
        offset = mean[~stays] - prediction.T @ mean[stays]
        at_every_position = gone.flatten(2).sum(2) if gone.dim() > 2 else gone
        parameters[consumer.bias].add_((at_every_position @ offset).to(weight.dtype))
