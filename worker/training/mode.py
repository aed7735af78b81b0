"""Training and inference mode of a plain graph: flags among the arguments of its nodes."""

import torch
from torch import fx

__all__ = ["is_batch_norm", "running_statistics", "set_mode"]

aten = torch.ops.aten

_BATCH_NORM = aten.batch_norm.default
_RUNNING_MEAN, _RUNNING_VARIANCE = 3, 4

# Position of the flag `training` or `train` in the schema of each op that has one.
_FLAGS = {
    _BATCH_NORM: 5,
    aten.dropout.default: 2,
    aten.feature_dropout.default: 2,
    aten.alpha_dropout.default: 2,
    # Kernels on accelerators want to know whether gradients will be asked for.
    aten.lstm.input: 6,
    aten.gru.input: 6,
    aten.rnn_tanh.input: 6,
    aten.rnn_relu.input: 6,
}


def is_batch_norm(node: fx.Node) -> bool:
    """Whether the node is a batch norm that keeps running statistics; without them it always uses the batch's own."""
    return node.op == "call_function" and node.target is _BATCH_NORM and node.args[_RUNNING_MEAN] is not None


def running_statistics(node: fx.Node) -> tuple[str, str]:
    """Names of the running mean and the running variance of a node that `is_batch_norm`."""
    mean, variance = node.args[_RUNNING_MEAN], node.args[_RUNNING_VARIANCE]
    assert isinstance(mean, fx.Node)
    assert isinstance(variance, fx.Node)
    return str(mean.target), str(variance.target)


def set_mode(module: fx.GraphModule, training: bool) -> None:
    """Switch batch norm (batch statistics or running ones) and dropout (on or off), in place.

    An exported graph has no `train()`: what `torch.nn` reads from the module, ATen takes as an argument.
    """
    changed = False
    for node in module.graph.nodes:
        position = _FLAGS.get(node.target) if node.op == "call_function" else None
        if position is None or node.args[position] is training:
            continue
        if node.target is _BATCH_NORM and not is_batch_norm(node):
            continue
        node.update_arg(position, training)
        changed = True
    if changed:
        module.recompile()
