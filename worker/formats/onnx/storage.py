"""Which constants of a file become parameters, which become buffers, and who shares them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.errors import MalformedModel, UnsupportedModel
from worker.formats.onnx.names import Names, layer_of
from worker.formats.onnx.node import Node

__all__ = ["Storage", "StoredTensor"]

_PARAMETERS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
    "Gather": (0,),
    "Einsum": (0, 1, 2),
    # Learnt tokens and positions, which are repeated for each sample or cut to its length.
    "Expand": (0,),
    "Tile": (0,),
    "Slice": (0,),
    "Concat": tuple(range(16)),
    # A vector that is added or multiplied is a bias or a scale. One that is subtracted or divided by normalises the
    # input: data, not to be trained.
    "Add": (0, 1),
    "Mul": (0, 1),
}
_SOMETIMES_DATA = frozenset({"Add", "Mul", "Gather", "Einsum", "Expand", "Tile", "Slice", "Concat"})
"""Ops that read data as well as weights: masks with values that no weight has, tables of positions."""
_LARGEST_WEIGHT = 1e6

_STATISTICS: dict[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}


@dataclass(frozen=True)
class StoredTensor:
    """A parameter or a buffer of the module that will be traced; `array` is float32 for parameters."""

    name: str
    array: npt.NDArray[Any]
    trainable: bool


@dataclass
class _Twins:
    """Equal matrices of one shape, however they were stored, by what the first of them is known by."""

    seen: list[tuple[npt.NDArray[Any], tuple[int, bool]]] = field(default_factory=list)

    def first(self, array: npt.NDArray[Any], name: tuple[int, bool]) -> tuple[int, bool]:
        for other, known in self.seen:
            if known == name or (np.array_equal(other[:1], array[:1]) and np.array_equal(other, array)):
                return known
        if array.min() != array.max():  # matrices of one value are equal by chance
            self.seen.append((array, name))
        return name


@dataclass
class Storage:
    """Collects the tensors that nodes ask for.

    Exporters store equal tensors once, so that every zero bias of a network is one initializer. Vectors are therefore
    stored anew for each use: else unrelated layers would be tied, and trained statistics would overwrite each other.
    Larger tensors stay shared, as tied weights are; also where an exporter has stored a second one, turned.
    """

    names: Names
    uses: Counter[str]
    _stored: dict[tuple[Any, ...], StoredTensor] = field(default_factory=dict)
    _twins: dict[tuple[int, ...], "_Twins"] = field(default_factory=dict)

    @classmethod
    def for_nodes(cls, nodes: Iterable[Node]) -> "Storage":
        return cls(Names(), Counter(name for node in nodes for name in node.inputs))

    @staticmethod
    def is_weight(node: Node, position: int) -> bool:
        """Whether a float constant here is a weight however small; else a single number is a plain number."""
        return node.op_type not in _SOMETIMES_DATA - {"Gather"} and position in (
            *_PARAMETERS.get(node.op_type, ()),
            *_STATISTICS.get(node.op_type, ()),
        )

    def tensors(self) -> list[StoredTensor]:
        return list(self._stored.values())

    def store(self, node: Node, position: int, initializer: str, array: npt.NDArray[Any]) -> str:
        """The name of the tensor that `node` is to read as input `position`.

        A constant right factor of Gemm and MatMul is stored as an (out, in) weight, and PRelu's slope as a vector.
        """
        given = id(array)  # the caller keeps the arrays of the file; a rearranged copy is another tensor
        transposed = _transposed(node, position, array)
        source = (given, transposed)
        if transposed:
            array = np.ascontiguousarray(array.T)
        elif node.op_type == "PRelu":
            array = array.reshape(-1)
        trainable = position in _PARAMETERS.get(node.op_type, ()) and array.dtype.kind == "f"
        trainable = trainable and not (node.op_type in _SOMETIMES_DATA and _is_data(array))
        _check(node, initializer, array, trainable)
        is_vector = array.size == max(array.shape, default=1)
        private = is_vector and (trainable or self.is_weight(node, position))
        if trainable and not is_vector:
            source = self._twins.setdefault(array.shape, _Twins()).first(array, source)
        key = (*source, trainable, array.shape, (node.index, position) if private else None)
        if key not in self._stored:
            shared = is_vector and self.uses[initializer] > 1
            layer = layer_of(node, initializer if position == 1 else _weight_of(node))
            name = self.names.parameter(node, position, initializer, layer, shared=shared)
            self._stored[key] = StoredTensor(name, array, trainable)
        return self._stored[key].name

    def store_recurrent(self, node: Node, weights: Iterable[tuple[str, npt.NDArray[Any]]]) -> list[str]:
        """The names of the weights of a recurrent `node`, which it has to itself; given are torch's names for them."""
        layer = layer_of(node, node.inputs[1]) or f"{node.op_type.lower()}_{node.index}"
        names = []
        for role, array in weights:
            _check(node, role, array, trainable=True)
            name = self.names.unique(f"{layer}.{role}")
            self._stored[(node.index, role)] = StoredTensor(name, np.ascontiguousarray(array), trainable=True)
            names.append(name)
        return names


def _weight_of(node: Node) -> str:
    return node.inputs[1] if len(node.inputs) > 1 else ""


def _transposed(node: Node, position: int, array: npt.NDArray[Any]) -> bool:
    if position != 1 or array.ndim != 2:
        return False
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.integer("transB", 0))


def _is_data(array: npt.NDArray[Any]) -> bool:
    """Whether an array is a mask: it holds values that no weight has, or two different ones."""
    if np.abs(array, dtype=np.float64).max(initial=0) > _LARGEST_WEIGHT:
        return True
    return array.size > max(array.shape, default=1) and len(np.unique(array)) == 2


def _check(node: Node, initializer: str, array: npt.NDArray[Any], trainable: bool) -> None:
    if array.dtype == np.float64:
        raise UnsupportedModel(f"{node.label} reads {initializer!r} in float64; export the model in float32")
    if trainable and array.size and not np.isfinite([array.min(), array.max()]).all():
        raise MalformedModel(f"{node.label} reads the weight {initializer!r}, which holds infinite values")
