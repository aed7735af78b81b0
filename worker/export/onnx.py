"""Networks to ONNX files that say what the network computes and nothing about who made it, where, or from what."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, shape_inference
from onnx_ir.passes import PassError
from torch import Tensor
from torch.export import Dim

from worker.errors import UnsupportedModel
from worker.export.wire import Weight, write_inline, write_outside
from worker.graph.network import Network, TensorSpec
from worker.graph.normalization import fold_batch_norms
from worker.graph.shapes import example_inputs

__all__ = ["OPSET", "data_beside", "write_onnx"]

OPSET = 20
"""Old enough for the runtimes in use, new enough for Gelu and GroupNormalization as ops."""

_TRACED_BATCH = 3
_PRODUCER = "secateur"
_LARGEST_FILE = 2**31 - 1
_ROOM = 64 * 2**20
"""For the graph beside the weights."""
_SMALL = 1024


def write_onnx(network: Network, path: Path, opset: int = OPSET, *, outside: bool = False) -> list[Path]:
    """Write `network` in inference mode: batch norm folded, batch size free, inputs, outputs and weights named as in
    the network. The same network gives the same bytes. Answers the files that were written.

    Weights are inside the file. Where that would have more than 2 GiB, which no ONNX file may have, and where `outside`
    asks for it, they are in a second file, named `data_beside` the first, as ONNX's external data.

    Raises UnsupportedModel for a network that the exporter has no ops for.
    """
    model, weights = _exported(fold_batch_norms(network), opset)
    _scrub(model)
    _name_dimensions(model, network)
    try:
        model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
    except (shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnsupportedModel(f"the network cannot be written as ONNX with opset {opset}: {reason}") from error
    del model.graph.input[len(network.inputs) :]
    inside = {tensor.name: (tensor, onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    ordered = [_weight(name, tensor) if tensor is not None else _raw(*inside[name]) for name, tensor in weights.items()]
    del model.graph.initializer[:]
    size = sum(values.nbytes for _, values in ordered)
    if outside or size + _ROOM > _LARGEST_FILE:
        write_outside(model, ordered, path, data_beside(path))
        return [path, data_beside(path)]
    write_inline(model, ordered, path)
    return [path]


def data_beside(path: Path) -> Path:
    """Where the weights of a model at `path` are, if they are not inside of it."""
    return path.with_name(f"{path.name}.data")


def _exported(network: Network, opset: int) -> tuple[onnx.ModelProto, dict[str, Tensor | None]]:
    """The model with large weights as inputs after those of the network, and the weights in the order of the graph;
    None stands for a small one, which is an initializer of the model: shapes may be inferred from its values."""
    examples = tuple(value.cpu() for value in example_inputs(network, batch=_TRACED_BATCH))
    shapes = tuple(_dynamic(spec) for spec in network.inputs)
    with torch.no_grad(), _quiet():
        try:
            program = torch.export.export(network.module, examples, dynamic_shapes=shapes, strict=False)
            written = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in network.inputs],
                output_names=[spec.name for spec in network.outputs],
                external_data=False,
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, PassError) as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise UnsupportedModel(f"the network cannot be written as ONNX with opset {opset}: {reason}") from error
    assert written is not None
    graph, weights = written.model.graph, dict[str, Tensor | None]()
    for name, value in list(graph.initializers.items()):
        tensor = getattr(value.const_value, "raw", None)
        large = isinstance(tensor, Tensor) and tensor.nbytes > _SMALL
        weights[name] = tensor if large else None
        if large:
            del graph.initializers[name]
            graph.inputs.append(value)
    return written.model_proto, weights


def _weight(name: str, tensor: Tensor) -> Weight:
    values = tensor.detach().contiguous().numpy()
    kind = onnx.helper.np_dtype_to_tensor_dtype(values.dtype)
    return TensorProto(name=name, data_type=kind, dims=values.shape), values


def _raw(tensor: TensorProto, values: npt.NDArray[np.generic]) -> Weight:
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims), np.ascontiguousarray(values)


def _dynamic(spec: TensorSpec) -> dict[int, Any]:
    return {
        axis: Dim("batch") if axis == 0 else Dim.AUTO for axis, size in enumerate(spec.shape) if isinstance(size, str)
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the exporter says to its own developers."""
    chatter = logging.getLogger("torch.onnx")
    level = chatter.level
    chatter.setLevel(logging.ERROR)  # "torchvision is not installed"
    try:
        with warnings.catch_warnings():
            # copy.deepcopy of an exported program trips over a deprecation of its own.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        chatter.setLevel(level)


def _scrub(model: onnx.ModelProto) -> None:
    """Removes stack traces, module paths and other notes of the exporter; value shapes are inferred anew."""
    model.producer_name, model.producer_version, model.doc_string, model.domain = _PRODUCER, "", "", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "network", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _name_dimensions(model: onnx.ModelProto, network: Network) -> None:
    pairs = [
        *zip(model.graph.input, network.inputs, strict=False),  # weights follow
        *zip(model.graph.output, network.outputs, strict=True),
    ]
    for value, spec in pairs:
        for dimension, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
