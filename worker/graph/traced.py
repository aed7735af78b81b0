"""Networks from our own modules and exports: to trace again after surgery, and for tests. Never for uploads."""

from typing import Literal

import torch
from torch import fx

from worker.graph.clean import clean
from worker.graph.network import Network, TensorSpec

__all__ = ["from_exported", "place"]


def from_exported(program: torch.export.ExportedProgram, source: Literal["pt2", "onnx"] = "pt2") -> Network:
    """The network of an exported program whose inputs and outputs are tensors.

    The graph is copied into a plain module: the module of the program itself carries guards and refuses `eval()`.
    """
    signature = program.graph_signature
    targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target is not None}
    constants = {**program.state_dict, **program.constants}
    root = torch.nn.Module()
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    inputs: list[TensorSpec] = []
    names: dict[int, str] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            if not node.users:
                continue
            target = targets[node.name]
            # A tensor that two modules share keeps its first name: it is one parameter.
            first = names.setdefault(id(constants[target]), target)
            place(root, first, constants[target])
            copies[node] = graph.create_node("get_attr", first, name=node.name)
        elif node.op == "output":
            graph.output(tuple(copies[result] for result in _user_outputs(program, node)))
        else:
            copies[node] = graph.node_copy(node, lambda source: copies[source])
            copies[node].meta = {}
            if node.op == "placeholder":
                inputs.append(_spec(node, node.name))
    outputs = tuple(
        _spec(node, name)
        for node, name in zip(_user_outputs(program, program.graph.output_node()), signature.user_outputs, strict=True)
    )
    module = fx.GraphModule(root, graph, class_name="Network")
    clean(module)
    return Network(module, tuple(inputs), outputs, source)


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


def _user_outputs(program: torch.export.ExportedProgram, output: fx.Node) -> list[fx.Node]:
    results = output.args[0]
    assert isinstance(results, tuple | list)
    specs = program.graph_signature.output_specs
    kind = torch.export.graph_signature.OutputKind.USER_OUTPUT
    return [
        result for result, spec in zip(results, specs, strict=True) if spec.kind == kind and isinstance(result, fx.Node)
    ]


def _spec(node: fx.Node, name: str | None) -> TensorSpec:
    value = node.meta["val"]
    free = iter("batch" if position == 0 else f"size{position}" for position in range(value.dim()))
    shape = tuple(size if isinstance(size, int) else label for size, label in zip(value.shape, free, strict=True))
    return TensorSpec(name or node.name, shape, value.dtype)
