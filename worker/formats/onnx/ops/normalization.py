"""Batch, layer, instance and group normalisation, and softmax."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import Value, as_tensor, tensor_op

__all__ = ["batch_normalization", "group_normalization", "instance_normalization", "layer_normalization", "softmax"]


@tensor_op("BatchNormalization")
def batch_normalization(node: Node, x: Tensor, scale: Value, bias: Value, mean: Value, var: Value) -> Tensor:
    # Few channels look like numbers of a shape once a Tile or a Reshape made them.
    scale, bias, mean, var = map(as_tensor, (scale, bias, mean, var))
    if node.integer("training_mode", 0) or any(node.outputs[1:]):
        raise node.refuse("was exported in training mode; export after model.eval()")
    # ONNX's momentum is the share of the old statistics that stays, torch's the share of the new ones that comes in.
    momentum = 1.0 - node.real("momentum", 0.9)
    return functional.batch_norm(x, mean, var, scale, bias, False, momentum, node.real("epsilon", 1e-5))


@tensor_op("LayerNormalization")
def layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    if any(node.outputs[1:]):
        raise node.refuse("returns its statistics; only the normalised values are supported")
    axis = node.integer("axis", -1) % x.ndim
    return functional.layer_norm(x, x.shape[axis:], scale, bias, node.real("epsilon", 1e-5))


@tensor_op("RMSNormalization")
def rms_normalization(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    axis = node.integer("axis", -1) % x.ndim
    return functional.rms_norm(x, x.shape[axis:], scale, node.real("epsilon", 1e-5))


@tensor_op("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """The same as group normalisation with one channel in each group."""
    return functional.group_norm(x, x.shape[1], scale, bias, node.real("epsilon", 1e-5))


@tensor_op("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = node.integer("num_groups")
    if node.opset < 21:  # one scale for each group; for each channel from opset 21 on
        raise node.refuse("scales groups, not channels, before opset 21; export with opset_version=21 or newer")
    return functional.group_norm(x, groups, scale, bias, node.real("epsilon", 1e-5))


@tensor_op("Softmax", "LogSoftmax")
def softmax(node: Node, x: Tensor) -> Tensor:
    function = torch.softmax if node.op_type == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return function(x, node.integer("axis", -1))
    axis = node.integer("axis", 1) % x.ndim
    if axis == x.ndim - 1 or math.prod(x.shape[axis + 1 :]) == 1:
        return function(x, axis)
    raise node.refuse("normalises several axes at once, as before opset 13; export with opset_version=13 or newer")


@tensor_op("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    return functional.local_response_norm(
        x, node.integer("size"), node.real("alpha", 1e-4), node.real("beta", 0.75), node.real("bias", 1.0)
    )
