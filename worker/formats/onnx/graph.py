"""Bytes of an ONNX file to a checked graph: plain names, numbers and arrays, nothing of the protobuf left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # stubs are a package of their own
from onnx import AttributeProto, TensorProto

from worker.errors import MalformedModel, UnsupportedModel
from worker.formats.onnx.node import AttributeValue, Node
from worker.formats.onnx.tensors import read_tensor
from worker.order import ChildLimits

__all__ = ["GraphInput", "OnnxGraph", "read_graph"]

OPSETS = range(9, 26)
"""Versions of the standard domain whose changes were gone through, op by op."""

_PROTOBUF_BYTES = 2**31 - 1
_STANDARD_DOMAINS = ("", "ai.onnx")
_MAX_DIMENSION = 2**20

_INPUT_DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.INT64: torch.int64,
    TensorProto.INT32: torch.int32,
    TensorProto.BOOL: torch.bool,
}


@dataclass(frozen=True)
class GraphInput:
    """`batch` is the size of the first dimension, or None where the file leaves it free; `shape` is the rest. Free
    sizes in it are names, equal ones where the file says that they are equal."""

    name: str
    batch: int | None
    shape: tuple[int | str, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in an order in which everything is made before it is read; every value has one maker."""

    nodes: tuple[Node, ...]
    constants: dict[str, npt.NDArray[Any]]
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]


def read_graph(path: Path, limits: ChildLimits) -> OnnxGraph:
    """Parse and check the file. Nothing in it is executed and no other file is opened.

    Raises MalformedModel, UnsafeModel or UnsupportedModel, naming the node or the tensor at fault.
    """
    size = path.stat().st_size
    allowed = min(_PROTOBUF_BYTES, limits.memory_bytes // 4)  # file, parsed message and parameters are held at once
    if size > allowed:
        raise UnsupportedModel(f"the ONNX file has {size} bytes; {allowed} can be read within the memory limit")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise MalformedModel("the file is no ONNX protobuf, or is truncated") from error
    opset = _opset(model)
    _refuse_programs(model)
    graph = model.graph
    if len(graph.node) > limits.model_nodes:
        raise UnsupportedModel(f"the graph has {len(graph.node)} nodes; at most {limits.model_nodes} are accepted")
    _check_text(graph)
    constants = {tensor.name: read_tensor(tensor, f"the initializer {tensor.name!r}") for tensor in graph.initializer}
    if len(constants) != len(graph.initializer):
        raise MalformedModel("two initializers have the same name")
    inputs = tuple(_input(value) for value in graph.input if value.name not in constants)
    nodes = tuple(_node(index, proto, opset) for index, proto in enumerate(graph.node))
    outputs = tuple(value.name for value in graph.output)
    _check_names(nodes, constants, inputs, outputs)
    return OnnxGraph(nodes, constants, inputs, outputs)


def _opset(model: onnx.ModelProto) -> int:
    if not model.HasField("graph") or not model.ir_version:
        raise MalformedModel("the file holds no ONNX graph")
    for entry in model.opset_import:
        used = any(node.domain == entry.domain for node in model.graph.node)
        if entry.domain not in _STANDARD_DOMAINS and used:
            raise UnsupportedModel(
                f"the graph uses ops of the domain {entry.domain!r}; only the standard ONNX ops are supported"
            )
    versions = [entry.version for entry in model.opset_import if entry.domain in _STANDARD_DOMAINS]
    if len(versions) != 1:
        raise MalformedModel(f"the file must import the standard opset once and imports it {len(versions)} times")
    if versions[0] not in OPSETS:
        raise UnsupportedModel(
            f"opset {versions[0]} is not supported; export with opset {OPSETS[0]} to {OPSETS[-1]} "
            "(torch.onnx.export(..., opset_version=20))"
        )
    return int(versions[0])


def _refuse_programs(model: onnx.ModelProto) -> None:
    if model.functions:
        raise UnsupportedModel(
            f"the file defines local functions ({model.functions[0].name!r} first); "
            "inline them: onnx.inliner.inline_local_functions(model)"
        )
    if model.graph.sparse_initializer:
        raise UnsupportedModel("the file has sparse initializers; save the weights dense")


def _check_text(graph: onnx.GraphProto) -> None:
    """Protobuf hands out bytes, not text, where a string is no UTF-8."""
    texts = [name for node in graph.node for name in (node.op_type, node.name, node.domain, *node.input, *node.output)]
    texts += [part.name for part in (*graph.initializer, *graph.input, *graph.output)]
    texts += [attribute.name for node in graph.node for attribute in node.attribute]
    for text in texts:
        if isinstance(text, bytes):
            raise MalformedModel(f"the name {text!r} is no UTF-8 text")


def _input(value: onnx.ValueInfoProto) -> GraphInput:
    if not value.type.HasField("tensor_type"):
        raise UnsupportedModel(
            f"the input {value.name!r} is no tensor; sequences, maps and optionals are not supported"
        )
    tensor = value.type.tensor_type
    dtype = _INPUT_DTYPES.get(tensor.elem_type)
    if dtype is None:
        raise UnsupportedModel(f"the input {value.name!r} must be float32, int64, int32 or bool; export in float32")
    if not tensor.HasField("shape") or not tensor.shape.dim:
        raise UnsupportedModel(f"the input {value.name!r} has no shape with a batch dimension")
    first, *rest = tensor.shape.dim
    shape: list[int | str] = []
    for axis, dim in enumerate(rest, start=1):
        if dim.dim_value > _MAX_DIMENSION:
            raise UnsupportedModel(f"dimension {axis} of the input {value.name!r} is {dim.dim_value}: too large")
        free = dim.dim_param or f"{value.name}_{axis}"
        shape.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else free)
    # Some exporters write an unknown batch as 0 or -1.
    batch = first.dim_value if first.HasField("dim_value") and first.dim_value > 0 else None
    if batch is not None and batch > _MAX_DIMENSION:
        raise UnsupportedModel(f"the batch of the input {value.name!r} is {batch}: too large")
    return GraphInput(value.name, batch, tuple(shape), dtype)


def _node(index: int, proto: onnx.NodeProto, opset: int) -> Node:
    if proto.domain not in _STANDARD_DOMAINS:
        raise UnsupportedModel(
            f"{proto.op_type} node {proto.name!r} is of the domain {proto.domain!r}; "
            "only the standard ONNX ops are supported"
        )
    attributes = {attribute.name: _attribute(attribute, proto) for attribute in proto.attribute}
    return Node(index, proto.name, proto.op_type, tuple(proto.input), tuple(proto.output), opset, attributes)


def _attribute(attribute: onnx.AttributeProto, node: onnx.NodeProto) -> AttributeValue:
    where = f"the attribute {attribute.name!r} of {node.op_type} node {node.name!r}"
    try:
        match attribute.type:
            case AttributeProto.INT:
                return int(attribute.i)
            case AttributeProto.FLOAT:
                return float(attribute.f)
            case AttributeProto.STRING:
                return attribute.s.decode()
            case AttributeProto.INTS:
                return tuple(attribute.ints)
            case AttributeProto.FLOATS:
                return tuple(attribute.floats)
            case AttributeProto.STRINGS:
                return tuple(item.decode() for item in attribute.strings)
            case AttributeProto.TENSOR:
                return read_tensor(attribute.t, where)
            case AttributeProto.GRAPH | AttributeProto.GRAPHS:
                raise UnsupportedModel(
                    f"{node.op_type} node {node.name!r} has a sub-graph; control flow cannot be pruned. "
                    "Export a model whose forward pass has no branches or loops over data"
                )
    except UnicodeDecodeError as error:
        raise MalformedModel(f"{where} is no UTF-8 text") from error
    raise UnsupportedModel(f"{where} has a type without support")


def _check_names(
    nodes: tuple[Node, ...],
    constants: dict[str, npt.NDArray[Any]],
    inputs: tuple[GraphInput, ...],
    outputs: tuple[str, ...],
) -> None:
    if not inputs or not outputs:
        raise MalformedModel(f"the graph has {len(inputs)} inputs and {len(outputs)} outputs; both are needed")
    made = set(constants)
    for value in inputs:
        if value.name in made or not value.name:
            raise MalformedModel(f"the graph has two inputs called {value.name!r}")
        made.add(value.name)
    for node in nodes:
        for name in node.inputs:
            if name and name not in made:
                raise node.broken(f"reads {name!r} before it is made: a cycle, an unsorted graph or a missing tensor")
        for name in node.outputs:
            if name and name in made:
                raise node.broken(f"makes {name!r}, which exists already")
            made.add(name)
    for name in outputs:
        if name not in made:
            raise MalformedModel(f"nothing makes the output {name!r}")
    if len(set(outputs)) != len(outputs):
        raise MalformedModel("two outputs have the same name")
