"""Tensors put under their dotted names, and the graph made callable."""

import torch
from torch import Tensor, fx, nn

from worker.errors import UnsupportedModel
from worker.formats.pt2.tensors import TensorTable

__all__ = ["with_tensors"]

_DEEPEST = 32


def with_tensors(graph: fx.Graph, table: TensorTable) -> fx.GraphModule:
    """Read every tensor that `graph` gets, once, and make a module of both.

    Frozen parameters come out trainable: whether a weight was frozen says how the model was trained last, not how it
    is to be fine-tuned here. A tied weight keeps the first of its names.

    Raises:
        MalformedModel: a tensor is missing or does not fit its bytes.
        UnsupportedModel: a parameter is not float32, a value is not finite, or a name cannot be an attribute.
    """
    root = nn.Module()
    for node in graph.find_nodes(op="get_attr"):
        name, tensor = table.read(str(node.target))
        node.target = name
        if tensor is None or _holds(root, name):
            continue
        parent = _parent(root, name)
        leaf = name.rpartition(".")[2]
        if hasattr(parent, leaf):
            raise UnsupportedModel(f"the tensor name {name!r} cannot be used: {leaf!r} is taken")
        is_parameter = table.is_parameter(name)
        _check_values(name, tensor, is_parameter)
        if is_parameter:
            parent.register_parameter(leaf, nn.Parameter(tensor))
        else:
            parent.register_buffer(leaf, tensor)
    return fx.GraphModule(root, graph, class_name="Network")


def _check_values(name: str, tensor: Tensor, is_parameter: bool) -> None:
    if is_parameter and tensor.dtype != torch.float32:
        raise UnsupportedModel(
            f"the parameter {name!r} is {str(tensor.dtype).removeprefix('torch.')}; models are pruned in float32: call "
            "model.float() before torch.export.export"
        )
    if not tensor.dtype.is_floating_point:
        return
    if not tensor.numel():
        return
    # Minimum and maximum hand on what is not a number, and take no memory. Infinity is a legitimate constant (attention
    # masks), but never a legitimate weight.
    extremes = torch.stack(torch.aminmax(tensor))
    if not (extremes.isnan() if not is_parameter else ~extremes.isfinite()).any():
        return
    bad = ~torch.isfinite(tensor) if is_parameter else torch.isnan(tensor)
    if count := int(bad.sum()):
        what = "NaN or infinite" if is_parameter else "NaN"
        raise UnsupportedModel(
            f"{count:,} of the {tensor.numel():,} values of {name!r} are {what}: the model is broken"
        )


def _holds(root: nn.Module, name: str) -> bool:
    module: object = root
    for step in name.split("."):
        children = {**module._modules, **module._parameters, **module._buffers} if isinstance(module, nn.Module) else {}
        if step not in children:
            return False
        module = children[step]
    return not isinstance(module, nn.Module)


def _parent(root: nn.Module, name: str) -> nn.Module:
    steps = name.split(".")[:-1]
    if len(steps) > _DEEPEST:
        raise UnsupportedModel(f"the tensor name {name[:80]!r} is nested more than {_DEEPEST} deep")
    module = root
    for step in steps:
        child = module._modules.get(step)
        if child is None:
            if hasattr(module, step) or (module is root and hasattr(fx.GraphModule, step)):
                raise UnsupportedModel(f"the tensor name {name!r} cannot be used: {step!r} is taken")
            child = nn.Module()
            module.add_module(step, child)
        module = child
    return module
