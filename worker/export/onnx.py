"""Networks to ONNX files that say what the network computes and nothing about who made it, where, or from what."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import shape_inference
from onnx_ir.passes import PassError
from torch.export import Dim

from worker.errors import UnsupportedModel
from worker.graph.network import Network, TensorSpec
from worker.graph.normalization import fold_batch_norms
from worker.graph.shapes import example_inputs

__all__ = ["OPSET", "write_onnx"]

OPSET = 20
"""Old enough for the runtimes in use, new enough for Gelu and GroupNormalization as ops."""

_TRACED_BATCH = 3
_PRODUCER = "secateur"
_LARGEST_FILE = 2**31 - 1


def write_onnx(network: Network, path: Path, opset: int = OPSET) -> None:
    """Write `network` in inference mode: batch norm folded, batch size free, inputs, outputs and weights named as in
    the network, weights inside the file. The same network gives the same bytes.

    Raises UnsupportedModel for a network of more than 2 GiB, and for one that the exporter has no ops for.
    """
    size = 4 * network.parameter_count()
    if size > _LARGEST_FILE:
        raise UnsupportedModel(f"the weights have {size} bytes; an ONNX file holds at most {_LARGEST_FILE}")
    folded = fold_batch_norms(network)
    folded.module.cpu()  # a copy
    model = _exported(folded, opset)
    _scrub(model)
    _name_dimensions(model, network)
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _exported(network: Network, opset: int) -> onnx.ModelProto:
    examples = example_inputs(network, batch=_TRACED_BATCH)
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
    return written.model_proto


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
        *zip(model.graph.input, network.inputs, strict=True),
        *zip(model.graph.output, network.outputs, strict=True),
    ]
    for value, spec in pairs:
        for dimension, size in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size
