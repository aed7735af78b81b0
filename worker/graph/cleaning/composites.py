"""Decomposed ops written back as the composite ops that rules, training and export know.

`program.run_decompositions()` takes batch norm, layer norm, dropout, pooling and convolutions apart into forms with
several results. Each entry of the table gives the composite call whose value is the first of those results; the other
results are statistics for the backward pass, which no network reads.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from worker.errors import UnsupportedModel
from worker.graph.allowlist import OPERATOR_FUNCTIONS

__all__ = ["to_composites"]

aten = torch.ops.aten
Call = tuple[torch._ops.OpOverload, tuple[Any, ...]]

_CONVOLUTIONS = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
_TRANSPOSED = {1: aten.conv_transpose1d.default, 2: aten.conv_transpose2d.input, 3: aten.conv_transpose3d.input}


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: Any, momentum: Any, eps: Any) -> Call:
    return aten.batch_norm.default, (x, weight, bias, mean, var, training, momentum, eps, False)


def _batch_norm_inference(x: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: Any, eps: Any) -> Call:
    return _batch_norm(x, weight, bias, mean, var, False, momentum, eps)


def _batch_norm_of_batch(x: Any, weight: Any, bias: Any, training: Any, momentum: Any, eps: Any) -> Call:
    return _batch_norm(x, weight, bias, None, None, training, momentum, eps)


def _rms_norm(x: Any, shape: Any, weight: Any, eps: Any) -> Call:
    return aten.rms_norm.default, (x, shape, weight, eps)


def _layer_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: Any) -> Call:
    return aten.layer_norm.default, (x, shape, weight, bias, eps)


def _group_norm(x: Any, weight: Any, bias: Any, *sizes_groups_eps: Any) -> Call:
    *_, groups, eps = sizes_groups_eps
    return aten.group_norm.default, (x, groups, weight, bias, eps)


def _dropout(x: Any, p: Any, train: Any) -> Call:
    return aten.dropout.default, (x, p, bool(train))


def _max_pool(*args: Any) -> Call:
    return aten.max_pool2d.default, args


_FIRST_RESULT: dict[torch._ops.OpOverload, Callable[..., Call]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten._native_batch_norm_legit_functional.default: _batch_norm,
    aten.cudnn_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm_inference,
    aten._native_batch_norm_legit.no_stats: _batch_norm_of_batch,
    aten._fused_rms_norm.default: _rms_norm,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten.native_dropout.default: _dropout,
    aten.max_pool2d_with_indices.default: _max_pool,
}


def to_composites(graph: fx.Graph) -> None:
    """Rewrite in place.

    Raises:
        UnsupportedModel: a result other than the first is used (saved statistics, a dropout mask, pooling indices).
    """
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in _FIRST_RESULT:
            target, args = _FIRST_RESULT[node.target](*node.args)
            for user in list(node.users):
                if not user.users:
                    graph.erase_node(user)
                    continue
                if user.target is not OPERATOR_FUNCTIONS["getitem"] or user.args[1:] != (0,):
                    raise UnsupportedModel(f"the model reads a second result of {node.target} ({user.name})")
                user.target, user.args = target, args
        elif node.target is aten.convolution.default:
            _convolution(node)
        elif node.target is aten.addmm.default:
            _linear(node)


def _convolution(node: fx.Node) -> None:
    x, weight, bias, stride, padding, dilation, transposed, output_padding, groups = node.args
    assert isinstance(stride, list)
    target = (_TRANSPOSED if transposed else _CONVOLUTIONS).get(len(stride))
    if target is None:
        return  # whether such a call runs at all is found out by running it
    node.target = target
    if transposed:
        node.args = (x, weight, bias, stride, padding, output_padding, groups, dilation)
    else:
        node.args = (x, weight, bias, stride, padding, dilation, groups)


def _linear(node: fx.Node) -> None:
    """`addmm(bias, x, permute(weight, [1, 0]))` is what decomposition makes of a linear layer."""
    bias, x, transposed = node.args
    if node.kwargs or not isinstance(transposed, fx.Node):
        return
    is_transpose = transposed.target is aten.t.default or (
        transposed.target is aten.permute.default and list(transposed.args[1]) == [1, 0]  # type: ignore[arg-type] # a list in valid graphs
    )
    if is_transpose and transposed.all_input_nodes[0].op == "get_attr":
        node.target, node.args = aten.linear.default, (x, transposed.args[0], bias)
