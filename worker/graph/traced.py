"""Networks from programs that `torch.export` traced in this process. Programs in files are read by `worker.formats`."""

from typing import Literal

import torch
from torch import fx

from worker.graph.arguments import bind, in_schema_order
from worker.graph.cleaning import clean, fold_parameters, split_recurrent
from worker.graph.network import Network, TensorSpec
from worker.graph.tensors import place

__all__ = ["from_exported"]


def from_exported(program: torch.export.ExportedProgram, source: Literal["pt2", "onnx"] = "pt2") -> Network:
    """The network of an exported program whose inputs and outputs are tensors.

    The graph is copied into a plain module: the module of the program itself carries guards and refuses `eval()`.
    """
    signature = program.graph_signature
    targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target is not None}
    tensors = {**program.state_dict, **program.constants}
    first_names: dict[tuple[object, ...], str] = {}
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    inputs: list[TensorSpec] = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            name = targets[node.name]
            # A tensor stored under two names keeps the first: it is one parameter.
            first = first_names.setdefault(_memory(tensors[name]), name)
            copies[node] = graph.create_node("get_attr", first, name=node.name)
        elif node.op == "output":
            graph.output(tuple(copies[result] for result in _user_outputs(program, node)))
        else:
            copies[node] = _copy(node, graph, copies)
            if node.op == "placeholder":
                inputs.append(_spec(node, node.name))
    outputs = tuple(
        _spec(node, name)
        for node, name in zip(_user_outputs(program, program.graph.output_node()), signature.user_outputs, strict=True)
    )
    clean(graph)
    root = torch.nn.Module()
    for name in dict.fromkeys(str(node.target) for node in graph.find_nodes(op="get_attr")):
        place(root, name, tensors[name])
    module = fx.GraphModule(root, graph, class_name="Network")
    split_recurrent(module)
    fold_parameters(module)
    return Network(module, tuple(inputs), outputs, source)


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    """What two names of one tensor have in common. Empty tensors have no memory to share."""
    where = tensor.data_ptr() if tensor.numel() else id(tensor)
    return where, tensor.dtype, tensor.shape, tensor.stride()


def _copy(node: fx.Node, graph: fx.Graph, copies: dict[fx.Node, fx.Node]) -> fx.Node:
    """`node` in `graph`, without metadata, its arguments in the order of the op's schema."""
    copy = graph.node_copy(node, copies.__getitem__)
    copy.meta = {}
    if isinstance(copy.target, torch._ops.OpOverload):
        copy.args, copy.kwargs = in_schema_order(copy.target, bind(copy))
    return copy


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
    known = [size if isinstance(size, int) else size.node.maybe_as_int() for size in value.shape]
    shape = tuple(label if size is None else size for size, label in zip(known, free, strict=True))
    sizes = [size if isinstance(size, int) else size.node.hint for size in value.shape]
    traced = None if None in sizes else tuple(sizes)
    return TensorSpec(name or node.name, shape, value.dtype, traced)
