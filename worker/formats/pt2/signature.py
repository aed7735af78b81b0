"""The border of the graph: what goes in, what comes out, and what is stored."""

import keyword
from dataclasses import dataclass

from torch import fx

from worker.errors import MalformedModel, UnsupportedModel
from worker.formats.pt2.graph import GraphBuilder
from worker.formats.pt2.schema import ExportedGraph, TensorMeta, parse_item
from worker.formats.pt2.tensors import DTYPES

__all__ = ["Declared", "add_inputs", "add_outputs"]

_RESERVED = frozenset(
    {"self", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree", "operator", "_operator"}
)
"""Names that FX puts into the code it makes of a graph."""

_RUNNING_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Declared:
    """An input as the file describes it."""

    name: str
    meta: TensorMeta


def add_inputs(builder: GraphBuilder, graph: fx.Graph, exported: ExportedGraph) -> tuple[Declared, ...]:
    """Placeholders for the user's inputs, `get_attr` nodes for everything stored.

    Raises:
        UnsupportedModel: an input that is no tensor of a supported dtype.
        MalformedModel: an input without a shape.
    """
    declared: list[Declared] = []
    for spec in exported.signature.input_specs:
        match spec.kind:
            case "user_input":
                argument = spec.value.arg
                if argument.as_tensor is None:
                    raise UnsupportedModel(f"an input of the model is no tensor but {argument.kind!r}")
                declared.append(_declare(argument.as_tensor.name, exported))
                builder.bind(declared[-1].name, graph.placeholder(declared[-1].name))
            case "parameter":
                _store(builder, graph, spec.value.arg.name, spec.value.parameter_name)
            case "buffer":
                _store(builder, graph, spec.value.arg.name, spec.value.buffer_name)
            case "tensor_constant":
                _store(builder, graph, spec.value.arg.name, spec.value.tensor_constant_name)
            case "constant_input":
                pass  # an argument like None or 3 was fixed when the model was exported
            case kind:
                raise UnsupportedModel(f"the model has an input of kind {kind!r}; only tensors are supported")
    if not declared:
        raise UnsupportedModel("the model has no tensor input")
    return tuple(declared)


def _declare(name: str, exported: ExportedGraph) -> Declared:
    if keyword.iskeyword(name) or name in _RESERVED or name.startswith("__"):
        raise UnsupportedModel(f"an input cannot be called {name!r}")
    if name not in exported.graph.tensor_values:
        raise MalformedModel(f"the input {name!r} has no shape")
    meta = parse_item(TensorMeta, f"the input {name!r}", exported.graph.tensor_values[name])
    if meta.dtype not in DTYPES:
        raise UnsupportedModel(f"the input {name!r} has dtype number {meta.dtype}, which is not supported")
    return Declared(name, meta)


def _store(builder: GraphBuilder, graph: fx.Graph, value: str, tensor: str) -> None:
    if any(step.startswith("__") for step in tensor.split(".")):
        raise UnsupportedModel(f"a tensor cannot be called {tensor!r}")
    builder.bind(value, graph.create_node("get_attr", tensor, name=value))


def add_outputs(builder: GraphBuilder, graph: fx.Graph, exported: ExportedGraph) -> tuple[str, ...]:
    """The output node; answers the names of the outputs.

    Updates of batch norm statistics are left off: here they are made by the training loop. So are updates of inputs,
    which only the caller of the original module could see.

    Raises:
        UnsupportedModel: an output that is no tensor, or a model that keeps a state between calls.
    """
    names: list[str] = []
    results: list[fx.Node] = []
    for spec in exported.signature.output_specs:
        match spec.kind:
            case "user_output":
                argument = spec.value.arg
                if argument.kind == "as_none":
                    continue
                if argument.as_tensor is None:
                    raise UnsupportedModel(f"an output of the model is no tensor but {argument.kind!r}")
                names.append(argument.as_tensor.name)
                results.append(builder.value(names[-1]))
            case "buffer_mutation" if spec.value.buffer_name.endswith(_RUNNING_STATISTICS):
                pass
            case "user_input_mutation":
                pass
            case "buffer_mutation":
                raise UnsupportedModel(
                    f"the model updates its buffer {spec.value.buffer_name!r} in every call; models that keep a state "
                    "between calls are not supported"
                )
            case kind:
                raise UnsupportedModel(f"the model has an output of kind {kind!r}; only tensors are supported")
    if not results:
        raise UnsupportedModel("the model has no tensor output")
    graph.output(tuple(results))
    return tuple(names)
