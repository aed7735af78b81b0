"""Parameters and buffers behind the nodes of a graph that is being edited."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from worker.graph.network import Network

__all__ = ["device_of", "finished", "free_name", "place", "stored_tensor", "tensors_of"]


def device_of(network: Network) -> torch.device:
    return next((parameter.device for _, parameter in network.parameters()), torch.device("cpu"))


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by their dotted names, each module's one after another, as `state_dict` has them."""
    found: dict[str, Tensor] = {}
    _collect(module, "", found)
    return found


def _collect(module: nn.Module, prefix: str, found: dict[str, Tensor]) -> None:
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            found[prefix + name] = tensor
    for name, part in module._modules.items():
        if part is not None:
            _collect(part, f"{prefix}{name}.", found)


def stored_tensor(module: nn.Module, node: Any) -> Tensor | None:
    """The tensor behind a `get_attr` node in float64; None for an argument that is None."""
    if not isinstance(node, fx.Node):
        return None
    path, _, leaf = str(node.target).rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(path), leaf)
    return tensor.detach().double()


def free_name(module: nn.Module, wanted: str) -> str:
    """`wanted`, or the same with an underscore, where no tensor or module has that name."""
    path, dot, leaf = wanted.rpartition(".")
    name = wanted
    while _exists(module, name):
        path = f"{path}_"
        name = f"{path}{dot}{leaf}"
    return name


def _exists(module: nn.Module, name: str) -> bool:
    owner: Any = module
    for part in name.split("."):
        if not hasattr(owner, part):
            return False
        owner = getattr(owner, part)
    return True


def finished(module: fx.GraphModule) -> fx.GraphModule:
    """Drops the nodes and tensors that nothing reads any more, and compiles the graph."""
    module.graph.eliminate_dead_code()
    read = {str(node.target) for node in module.graph.find_nodes(op="get_attr")}
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    for name, _ in tensors:
        if name not in read:
            path, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(path), leaf)
    module.graph.lint()
    module.recompile()
    return module


def place(root: torch.nn.Module, target: str, tensor: torch.Tensor) -> None:
    """Register a parameter or buffer under a dotted name."""
    *path, name = target.split(".")
    module = root
    for part in path:
        child = module._modules.get(part)
        if child is None:
            child = torch.nn.Module()
            module.add_module(part, child)
        module = child
    if isinstance(tensor, torch.nn.Parameter):
        module.register_parameter(name, tensor)
    else:
        module.register_buffer(name, tensor)
