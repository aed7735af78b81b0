"""Parameters and buffers behind the nodes of a graph that is being edited."""

from typing import Any

import torch
from torch import Tensor, fx, nn

from worker.graph.network import Network

__all__ = [
    "device_of",
    "drop",
    "finished",
    "free_name",
    "named_tensor",
    "place",
    "sharing",
    "stored_tensor",
    "tensors_of",
]


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


def named_tensor(module: nn.Module, name: str) -> Tensor:
    """The parameter or buffer under a dotted name."""
    path, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(path), leaf)
    return tensor


def drop(module: nn.Module, name: str) -> None:
    """Take the parameter or buffer under a dotted name out of the module."""
    path, _, leaf = name.rpartition(".")
    delattr(module.get_submodule(path), leaf)


def sharing(module: fx.GraphModule) -> fx.GraphModule:
    """A module with a graph of its own, and parameters and buffers of its own in the memory of those of `module`."""
    root = nn.Module()
    for name, parameter in module.named_parameters(remove_duplicate=False):
        place(root, name, nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad))
    for name, buffer in module.named_buffers(remove_duplicate=False):
        place(root, name, buffer.detach())
    graph = fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    return fx.GraphModule(root, graph, class_name="Network")


def stored_tensor(module: nn.Module, node: Any) -> Tensor | None:
    """The tensor behind a `get_attr` node in float64; None for an argument that is None."""
    if not isinstance(node, fx.Node):
        return None
    return named_tensor(module, str(node.target)).detach().double()


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
            drop(module, name)
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
