"""From the nodes of a file to the steps that torch is to trace: constants settled, shape arithmetic told from data."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from worker.errors import UnsupportedModel
from worker.formats.onnx import ops as _ops  # noqa: F401  registers the ops
from worker.formats.onnx.graph import OnnxGraph
from worker.formats.onnx.host import MAX_HOST_SIZE, shape_of
from worker.formats.onnx.node import Node
from worker.formats.onnx.recurrent import GATE_ORDER, unpacked
from worker.formats.onnx.storage import Storage, StoredTensor
from worker.formats.onnx.values import HOST_OPS, TENSOR_OPS, HostArray, NotOnHost, computing

__all__ = ["Argument", "Computed", "Plan", "Step", "Stored", "plan_steps"]

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
_SHAPE_OPS = ("Shape", "Size")
_REARRANGING = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice")
"""Ops that keep values of a constant, which exporters write between a weight and its layer."""


@dataclass(frozen=True)
class Computed:
    """The value called `name`, an input of the graph or made by an earlier step."""

    name: str


@dataclass(frozen=True)
class Stored:
    """The parameter or buffer called `name`."""

    name: str


Argument: TypeAlias = Computed | Stored | HostArray | None


@dataclass(frozen=True)
class Step:
    """`on_host` steps compute sizes, unless what they make turns out to be data; the others compute data."""

    node: Node
    arguments: tuple[Argument, ...]
    on_host: bool


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]
    tensors: list[StoredTensor]


def plan_steps(graph: OnnxGraph) -> Plan:
    """Decide for each node whether it computes data or sizes, and for each constant what it becomes.

    Raises UnsupportedModel with the names of all ops that are unknown, and for outputs that do not depend on inputs.
    """
    _refuse_unknown(graph.nodes)
    return _Planner(graph).plan()


class _Planner:
    def __init__(self, graph: OnnxGraph) -> None:
        self.graph = graph
        self.constants: dict[str, npt.NDArray[Any]] = dict(graph.constants)
        self.origin = {name: name for name in graph.constants}  # the initializer behind an Identity
        self.on_host: set[str] = set()
        self.storage = Storage.for_nodes(graph.nodes)

    def plan(self) -> Plan:
        steps = []
        for node in self.graph.nodes:
            with computing(node):
                step = self._step(node)
            if step is not None:
                steps.append(step)
        for name in self.graph.outputs:
            if name in self.constants or name in self.on_host:
                raise UnsupportedModel(f"the output {name!r} is a constant or a shape, not computed from the inputs")
        return Plan(tuple(steps), self.storage.tensors())

    def _step(self, node: Node) -> Step | None:
        given = [name for name in node.inputs if name]
        if node.op_type == "Constant":
            self.constants[node.outputs[0]] = _constant(node)
            return None
        known = bool(given) and all(name in self.constants for name in given)
        if known and node.op_type in _REARRANGING:
            array, *numbers = (self.constants[name] for name in given)
            same = node.op_type == "Identity"
            self.constants[node.outputs[0]] = array if same else _rearranged(node, array, *numbers)
            self.origin[node.outputs[0]] = self.origin.get(given[0], given[0])
            return None
        if known and node.op_type in _SHAPE_OPS:
            self.constants[node.outputs[0]] = shape_of(node, self.constants[given[0]].shape).astype(np.int64)
            return None
        sized = all(name in self.on_host or self._small(name) for name in given)
        if node.op_type in HOST_OPS and sized:
            if not known and given:
                self.on_host.update(node.outputs)
                return Step(node, self._host_arguments(node), on_host=True)
            with suppress(NotOnHost):
                self.constants[node.outputs[0]] = _typed(HOST_OPS[node.op_type](node, *self._host_arguments(node)))
                return None
        if node.op_type in _SHAPE_OPS and given[:1]:
            self.on_host.update(node.outputs)
            return Step(node, (Computed(node.inputs[0]),), on_host=True)
        if node.op_type not in TENSOR_OPS:
            raise node.refuse("has no support for these inputs")
        if node.op_type in GATE_ORDER:
            return Step(node, self._recurrent_arguments(node), on_host=False)
        arguments = tuple(self._argument(node, position) for position in range(len(node.inputs)))
        if any(isinstance(argument, Stored) for argument in arguments[1:2]) and node.op_type in ("Gemm", "MatMul"):
            node = self._as_linear(node)
        return Step(node, arguments, on_host=False)

    def _small(self, name: str) -> bool:
        array = self.constants.get(name)
        return array is not None and array.size <= MAX_HOST_SIZE and (array.dtype.kind in "ib" or array.size <= 16)

    def _host_arguments(self, node: Node) -> tuple[Any, ...]:
        return tuple(
            None if not name else Computed(name) if name in self.on_host else self.constants[name].astype(object)
            for name in node.inputs
        )

    def _argument(self, node: Node, position: int) -> Argument:
        name = node.inputs[position]
        array = self.constants.get(name)
        if not name or array is None:
            return Computed(name) if name else None
        if not Storage.is_weight(node, position) or array.dtype.kind != "f":
            plain = array.size == 1 or (array.dtype.kind in "ib" and array.ndim <= 1) or _takes_numbers(node, position)
            if plain and array.size <= MAX_HOST_SIZE:
                return array.astype(object)
        return Stored(self.storage.store(node, position, self.origin.get(name, name), array))

    def _recurrent_arguments(self, node: Node) -> tuple[Argument, ...]:
        """Data, then the weights of each direction in the order of torch."""
        x, *packed, lengths, hidden, cell, peepholes = range(8)
        arrays = [
            self.constants.get(node.inputs[position]) if position < len(node.inputs) else None for position in packed
        ]
        weights, recurrent, bias = arrays
        if weights is None or recurrent is None or (bias is None and any(node.inputs[3:4])):
            raise node.refuse("has weights that are computed in the graph")
        data = tuple(
            self._argument(node, position) if position < len(node.inputs) else None
            for position in (x, lengths, hidden, cell, peepholes)
        )
        names = self.storage.store_recurrent(node, unpacked(node, (weights, recurrent, bias)))
        return *data, *map(Stored, names)

    def _as_linear(self, node: Node) -> Node:
        """The stored right factor of a product is an (out, in) weight if it is a matrix."""
        matrix = self.constants[node.inputs[1]].ndim == 2
        return replace(node, attributes={**node.attributes, "transB": 1}) if matrix else node


def _refuse_unknown(nodes: tuple[Node, ...]) -> None:
    for node in nodes:
        if node.op_type in _QUANTISED or node.op_type.startswith("QLinear"):
            raise node.refuse("the model is quantised; upload the float32 model it was made from")
    known = {*TENSOR_OPS, *HOST_OPS, *_SHAPE_OPS, "Constant"}
    unknown = {node.op_type: node for node in reversed(nodes) if node.op_type not in known}
    if unknown:
        listed = "; ".join(sorted(node.label for node in unknown.values()))
        raise UnsupportedModel(f"no support for {len(unknown)} of the model's ops: {listed}")


def _rearranged(node: Node, array: npt.NDArray[Any], *numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return HOST_OPS[node.op_type](node, array, *(number.astype(object) for number in numbers)).astype(array.dtype)


def _takes_numbers(node: Node, position: int) -> bool:
    """Scales of Resize and bounds of Clip are numbers even where they are floats."""
    return position > 0 and node.op_type in ("Resize", "Upsample", "Clip", "Pad", "Dropout")


def _constant(node: Node) -> npt.NDArray[Any]:
    kinds: dict[str, npt.DTypeLike | None] = {
        "value": None,
        "value_float": np.float32,
        "value_floats": np.float32,
        "value_int": np.int64,
        "value_ints": np.int64,
    }
    for name, dtype in kinds.items():
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype=dtype)
    raise node.refuse("holds no numbers")


def _typed(folded: HostArray) -> npt.NDArray[Any]:
    """A folded host array with the dtype that its numbers have in ONNX."""
    kinds = {type(item) for item in folded.reshape(-1).tolist()}
    dtype = np.bool_ if kinds == {bool} else np.float32 if float in kinds else np.int64
    return folded.astype(dtype)
