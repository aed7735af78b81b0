"""The importer: an ONNX file on disk to a `Network`."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram

from worker.errors import MalformedModel, UnreadableModel, UnsupportedModel
from worker.formats.onnx.graph import GraphInput, OnnxGraph, read_graph
from worker.formats.onnx.interpreter import Interpreter, TracedModule
from worker.formats.onnx.plan import plan_steps
from worker.graph.allowlist import ATEN_OVERLOADS, OPERATOR_FUNCTIONS
from worker.graph.cleaning import lookups_to_views
from worker.graph.network import Network, TensorSpec
from worker.graph.shapes import example_inputs, forward
from worker.graph.traced import from_exported
from worker.order import ChildLimits

__all__ = ["read_onnx"]

_TRACED_BATCH = 3
"""Not 0 or 1, which torch takes for constants, and rarely a channel count."""

_LENGTHS = (16, 64, 224, 4)
"""Sizes for what is free beside the batch, tried in turn: a kernel may be longer than a text, a table of positions
shorter than an image."""

_TOLERANCE = 1e-4
"""Difference between samples computed alone and together, relative to the largest value: rounding of float32."""

_WAY_OUT = 'export it with a free one: torch.onnx.export(..., dynamic_shapes={"x": {0: torch.export.Dim("batch")}})'


def read_onnx(path: Path, limits: ChildLimits) -> Network:
    """The network in the ONNX file at `path`, on the CPU, in inference mode.

    Weights become parameters and statistics of batch norm become buffers, under the names of their initializers. The
    first dimension of every input is the batch, and free in the result; so are others that the file leaves free. A
    file that fixes its batch size is read too if its graph treats samples one by one, which is found out by computing
    some apart and together.

    Raises MalformedModel, UnsafeModel or UnsupportedModel; messages name the node or tensor at fault.
    """
    graph = read_graph(path, limits)
    plan = plan_steps(graph)
    graph.constants.clear()  # the plan holds what is read of them
    fixed = _file_batch(graph)
    max_numel = limits.memory_bytes // 8  # of float32, with room for one more of its kind
    for value in graph.inputs:
        if math.prod(_sizes(value.shape, _LENGTHS[0])) * max(fixed or 0, _TRACED_BATCH) > max_numel:
            raise UnsupportedModel(f"the input {value.name!r} of shape {list(value.shape)} exceeds the memory limit")
    names = tuple(value.name for value in graph.inputs)
    module = TracedModule(Interpreter(plan, names, graph.outputs, fixed, max_numel)).eval()
    try:
        network = _traced(module, graph)
    except MalformedModel as error:
        if fixed is None or _fails(module, graph, fixed):
            raise
        raise _one_batch_size(fixed) from error
    if fixed is not None and not _treats_samples_alike(network, module, graph, fixed):
        raise _one_batch_size(fixed)
    return network


def _file_batch(graph: OnnxGraph) -> int | None:
    """The size of the first dimension, the same for all inputs; None where it is free."""
    if len({value.batch for value in graph.inputs}) > 1:
        found = ", ".join(f"{value.name!r} has {value.batch or 'a free one'}" for value in graph.inputs)
        raise UnsupportedModel(f"the first dimension must be the batch for all inputs, but they differ: {found}")
    return graph.inputs[0].batch


def _examples(graph: OnnxGraph, batch: int, length: int = _LENGTHS[0]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, *_sizes(value.shape, length)) for value in graph.inputs]
    return tuple(
        torch.randn(shape, generator=generator)
        if value.dtype.is_floating_point
        else torch.zeros(shape, dtype=value.dtype)
        for value, shape in zip(graph.inputs, shapes, strict=True)
    )


def _sizes(shape: tuple[int | str, ...], length: int) -> tuple[int, ...]:
    return tuple(length if isinstance(size, str) else size for size in shape)


def _traced(module: TracedModule, graph: OnnxGraph) -> Network:
    if not any(isinstance(size, str) for value in graph.inputs for size in value.shape):
        return _network(_trace(module, graph, _LENGTHS[0]), graph)
    errors = []
    for length in _LENGTHS:
        try:
            network = _network(_trace(module, graph, length), graph)
            forward(network, example_inputs(network))
        except (MalformedModel, UnsupportedModel) as error:
            errors.append(error)
        else:
            return network
    raise errors[0]


def _trace(module: TracedModule, graph: OnnxGraph, length: int) -> ExportedProgram:
    """The graph of ATen ops for any batch size, and for any length."""
    free: dict[str, Any] = {
        "inputs": tuple(
            {
                0: Dim("batch"),
                **{axis: Dim.AUTO for axis, size in enumerate(value.shape, start=1) if isinstance(size, str)},
            }
            for value in graph.inputs
        )
    }
    try:
        with torch.no_grad():
            examples = _examples(graph, _TRACED_BATCH, length)
            return torch.export.export(module, examples, dynamic_shapes=free, strict=False)
    except UserError as error:
        raise UnsupportedModel(f"the graph works for one batch size only; {_WAY_OUT}") from error


def _network(program: ExportedProgram, graph: OnnxGraph) -> Network:
    traced = from_exported(program, "onnx")
    for node in traced.module.graph.nodes:
        if node.op == "call_function" and not _is_allowed(node.target):
            raise UnsupportedModel(f"the graph computes {node.target}, which is not supported")
    inputs = tuple(_described(spec, value) for spec, value in zip(traced.inputs, graph.inputs, strict=True))
    outputs = tuple(replace(spec, name=name) for spec, name in zip(traced.outputs, graph.outputs, strict=True))
    for spec in outputs:
        if spec.shape[:1] != ("batch",):
            raise UnsupportedModel(
                f"the output {spec.name!r} of shape {list(spec.shape)} is not one row for each sample"
            )
    network = replace(traced, inputs=inputs, outputs=outputs)
    lookups_to_views(network)
    return network


def _described(spec: TensorSpec, value: GraphInput) -> TensorSpec:
    for axis, (asked, found) in enumerate(zip(value.shape, spec.shape[1:], strict=True), start=1):
        if isinstance(asked, str) and isinstance(found, int):
            raise UnsupportedModel(
                f"dimension {axis} of the input {value.name!r} is free ({asked}), but the graph does not follow it: it "
                f"was traced with {found} and works for nothing else. Export with a fixed size"
            )
    return replace(spec, name=value.name, dtype=value.dtype, traced=spec.traced if "size" in str(spec.shape) else None)


def _is_allowed(target: object) -> bool:
    return str(target) in ATEN_OVERLOADS or target in OPERATOR_FUNCTIONS.values()


def _fails(module: TracedModule, graph: OnnxGraph, batch: int) -> bool:
    """Whether the file does not even run with its own batch size."""
    try:
        with torch.no_grad():
            module(*_examples(graph, batch))
    except UnreadableModel:
        return True
    return False


def _treats_samples_alike(network: Network, module: TracedModule, graph: OnnxGraph, batch: int) -> bool:
    examples = _examples(graph, 2 * batch)
    first, second = (tuple(tensor[part] for tensor in examples) for part in (slice(batch), slice(batch, None)))
    with torch.no_grad():
        apart = [torch.cat(pair) for pair in zip(module(*first), module(*second), strict=True)]
        together = network(*examples)
    return all(a.shape == b.shape and _close(a.double(), b.double()) for a, b in zip(together, apart, strict=True))


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= _TOLERANCE * b.abs().max().clamp(min=1e-6))


def _one_batch_size(batch: int) -> UnsupportedModel:
    return UnsupportedModel(f"the file fixes its batch size to {batch} and its graph works for no other; {_WAY_OUT}")
