"""Batch norm folded into the layer before it, as exporters do: exact in inference mode, and gone for training."""

from collections import Counter
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from worker.graph.network import Network
from worker.graph.shapes import example_inputs, record_shapes
from worker.graph.tensors import device_of, finished, free_name, place, sharing, stored_tensor

__all__ = ["fold_batch_norms", "foldable_norms", "has_batch_norm"]

aten = torch.ops.aten

_TRAINING, _EPSILON = 5, 7  # arguments of aten.batch_norm

_LAYERS = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default})
"""Layers whose weight has its outputs on the first axis."""


def has_batch_norm(network: Network) -> bool:
    """Whether any batch norm is left in the graph."""
    return bool(_batch_norms(network))


def fold_batch_norms(network: Network) -> Network:
    """The same function in inference mode with each batch norm folded into the convolution or linear layer before it.

        W' = W · γ / √(σ² + ε),   b' = (b − μ) · γ / √(σ² + ε) + β

    Worked out in float64. A batch norm stays where its input has other readers, where the weight serves several
    layers, or where no such layer comes before it. The given network is left as it is; the result shares the memory of
    what is not folded.
    """
    folded = network.with_module(sharing(network.module))
    for norm in foldable_norms(folded):
        _fold(folded.module, norm)
    return folded.with_module(finished(folded.module))


def foldable_norms(network: Network) -> list[fx.Node]:
    """The batch norms that `fold_batch_norms` folds."""
    foldable = _Foldable(network)
    return [norm for norm in _batch_norms(network) if foldable(norm)]


def _batch_norms(network: Network) -> list[fx.Node]:
    return list(network.module.graph.find_nodes(op="call_function", target=aten.batch_norm.default))


class _Foldable:
    """Decides which batch norms are a linear function right after a layer of their own."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._reads = Counter(
            str(node.target) for node in network.module.graph.find_nodes(op="get_attr") for _ in node.users
        )

    def __call__(self, norm: fx.Node) -> bool:
        layer = norm.args[0]
        if not isinstance(layer, fx.Node) or layer.target not in _LAYERS or len(layer.users) > 1:
            return False
        if norm.args[_TRAINING] or None in norm.args[3:5]:
            return False  # normalises by the batch
        if not all(self._is_stored(node) for node in (*layer.args[1:3], *norm.args[1:5])):
            return False
        if any(isinstance(node, fx.Node) and self._reads[str(node.target)] > 1 for node in layer.args[1:3]):
            return False
        # After a linear layer on sequences (N, L, C) the norm runs over L, not over the outputs of the layer.
        return layer.target is not aten.linear.default or len(self._shapes[layer.name]) == 2

    @staticmethod
    def _is_stored(node: Any) -> bool:
        return node is None or (isinstance(node, fx.Node) and node.op == "get_attr")

    @cached_property
    def _shapes(self) -> dict[str, Any]:
        return record_shapes(
            self._network, tuple(x.to(device_of(self._network)) for x in example_inputs(self._network))
        )


def _fold(module: fx.GraphModule, norm: fx.Node) -> None:
    layer = norm.args[0]
    assert isinstance(layer, fx.Node)
    x, weight_node, bias_node, *rest = (*layer.args, None)[: max(3, len(layer.args))]
    weight, bias = stored_tensor(module, weight_node), stored_tensor(module, bias_node)
    gamma, beta, mean, var = (stored_tensor(module, node) for node in norm.args[1:5])
    epsilon = norm.args[_EPSILON]
    assert weight is not None
    assert mean is not None
    assert var is not None
    assert isinstance(epsilon, float)
    scale = (1.0 if gamma is None else gamma) * torch.rsqrt(var + epsilon)
    shift = (-mean if bias is None else bias - mean) * scale
    weight_name = str(weight_node.target)  # type: ignore[union-attr]  # a layer has a weight
    place(module, weight_name, nn.Parameter((weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).float()))
    if isinstance(bias_node, fx.Node):
        bias_name = str(bias_node.target)
    else:
        bias_name = free_name(module, f"{weight_name.rpartition('.')[0] or 'layer'}.bias")
    place(module, bias_name, nn.Parameter((shift if beta is None else shift + beta).float()))
    if bias_node is None:
        with module.graph.inserting_before(layer):
            layer.args = (x, weight_node, module.graph.get_attr(bias_name), *rest)
    norm.replace_all_uses_with(layer)
    module.graph.erase_node(norm)
