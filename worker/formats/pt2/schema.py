"""The parts of `models/<name>.json` that are read, after torch's `_export/serde/schema.py`, schema 8.

Parsing checks types, ranges and names, and copies nothing else: stack traces, module stacks, guards (`guards_code` is
Python source), sample inputs and call signatures are never looked at. Symbolic sizes come as Python expressions that
torch evaluates; here they are only compared as text.
"""

from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from worker.errors import MalformedModel, UnreadableModel, UnsupportedModel

__all__ = [
    "Argument",
    "Graph",
    "InputSpec",
    "Node",
    "OutputSpec",
    "Payload",
    "PayloadConfig",
    "Program",
    "Size",
    "TensorMeta",
    "Versioned",
    "parse",
    "parse_item",
]

Document = TypeVar("Document", bound="Record")

_SPELLED = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}

Entry = TypeVar("Entry")
Items = Annotated[list[Entry], FailFast()]
"""A list that is given up at its first mistake: a report of every mistake in a hostile file would fill the memory."""

TENSOR_NAME = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
Int = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Natural = Annotated[int, Field(ge=0, lt=2**48)]
Float = Annotated[float, BeforeValidator(lambda value: _SPELLED.get(value, value) if isinstance(value, str) else value)]
ValueName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]
Path = Annotated[str, StringConstraints(pattern=TENSOR_NAME, max_length=512)]
Text = Annotated[str, StringConstraints(max_length=256)]


class Record(BaseModel):
    """Fields that are not listed are skipped without being kept."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class Union(Record):
    """A record with exactly one field, which says what it holds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="after")
    def _one_field(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one kind of value is expected")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def value(self) -> Any:
        return getattr(self, self.kind)


class TensorRef(Record):
    name: ValueName


class SizeRef(Union):
    as_name: ValueName | None = None
    as_int: Int | None = None


class SymBoolRef(Union):
    as_name: ValueName | None = None
    as_bool: bool | None = None


class SymFloatRef(Union):
    as_name: ValueName | None = None
    as_float: Float | None = None


class OptionalTensor(Union):
    as_tensor: TensorRef | None = None
    as_none: bool | None = None


class Device(Record):
    type: Text


class Hint(Record):
    as_int: Int | None = None


class Expression(Record):
    """A symbolic size. `expr_str` is program text: compared, never evaluated."""

    expr_str: Annotated[str, StringConstraints(max_length=4096)]
    hint: Hint | None = None


class Size(Union):
    as_int: Natural | None = None
    as_expr: Expression | None = None


class SubGraph(Record):
    name: ValueName
    graph: "Graph"


class Argument(Union):
    """A value handed to a node. Kinds that are not listed (custom objects, operators, ...) are refused by name."""

    as_none: bool | None = None
    as_tensor: TensorRef | None = None
    as_tensors: list[TensorRef] | None = None
    as_optional_tensor: OptionalTensor | None = None
    as_optional_tensors: list[OptionalTensor] | None = None
    as_int: Int | None = None
    as_ints: list[Int] | None = None
    as_float: Float | None = None
    as_floats: list[Float] | None = None
    as_bool: bool | None = None
    as_bools: list[bool] | None = None
    as_string: Text | None = None
    as_sym_int: SizeRef | None = None
    as_sym_ints: list[SizeRef] | None = None
    as_sym_bool: SymBoolRef | None = None
    as_sym_float: SymFloatRef | None = None
    as_scalar_type: Int | None = None
    as_memory_format: Int | None = None
    as_layout: Int | None = None
    as_device: Device | None = None
    as_graph: SubGraph | None = None


class NamedArgument(Record):
    name: Text
    arg: Argument


class Node(Record):
    target: Text
    inputs: Annotated[list[NamedArgument], Field(max_length=4096)]
    outputs: list[Argument]


class TensorMeta(Record):
    dtype: Int
    sizes: Annotated[list[Size], Field(max_length=64)]
    strides: Annotated[list[Size], Field(max_length=64)]
    storage_offset: Size
    layout: Int


class Graph(Record):
    """`tensor_values` holds a TensorMeta per value; only those of the inputs are parsed, see `parse_item`."""

    inputs: Items[Argument]
    outputs: Items[Argument]
    nodes: Items[Node]
    tensor_values: dict[str, Any]


class UserInput(Record):
    arg: Argument


class ParameterInput(Record):
    arg: TensorRef
    parameter_name: Path


class BufferInput(Record):
    arg: TensorRef
    buffer_name: Path
    persistent: bool = True


class ConstantInput(Record):
    arg: TensorRef
    tensor_constant_name: Path


class FixedInput(Record):
    name: Text


class Named(Record):
    """An input that is refused: only its kind matters."""


class InputSpec(Union):
    user_input: UserInput | None = None
    parameter: ParameterInput | None = None
    buffer: BufferInput | None = None
    tensor_constant: ConstantInput | None = None
    constant_input: FixedInput | None = None
    custom_obj: Named | None = None
    token: Named | None = None


class UserOutput(Record):
    arg: Argument


class BufferUpdate(Record):
    arg: TensorRef
    buffer_name: Path


class InputUpdate(Record):
    arg: TensorRef


class OutputSpec(Union):
    user_output: UserOutput | None = None
    buffer_mutation: BufferUpdate | None = None
    user_input_mutation: InputUpdate | None = None
    loss_output: Named | None = None
    gradient_to_parameter: Named | None = None
    gradient_to_user_input: Named | None = None
    token: Named | None = None
    parameter_mutation: Named | None = None


class Signature(Record):
    input_specs: Items[InputSpec]
    output_specs: Items[OutputSpec]


class ExportedGraph(Record):
    graph: Graph
    signature: Signature


class Version(Record):
    major: Int
    minor: Int


class Versioned(Record):
    schema_version: Version


class Program(Record):
    graph_module: ExportedGraph


class Payload(Record):
    path_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]+$", max_length=256)]
    is_param: bool
    use_pickle: bool
    tensor_meta: TensorMeta | None


class PayloadConfig(Record):
    """Payloads by the name of their tensor; parsed one by one, see `parse_item`."""

    config: dict[str, Any]


def parse(kind: type[Document], member: str, data: bytes) -> Document:
    """Read a member as `kind`.

    Raises:
        MalformedModel: not JSON, nested too deeply, or not of the expected form; names the first offending place.
        UnsupportedModel: a kind of value that only other kinds of models use.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(member, error) from error


def parse_item(kind: type[Document], place: str, item: Any) -> Document:
    """Read one entry of a parsed member as `kind`. Raises as `parse` does."""
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        raise _refusal(place, error) from error


def _refusal(member: str, error: ValidationError) -> UnreadableModel:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "/".join(str(step)[:64] for step in first["loc"]) or "the start"
    if first["type"] == "extra_forbidden":
        return UnsupportedModel(f"{member}: a value of kind {str(first['loc'][-1])[:64]!r} has no support, at {place}")
    return MalformedModel(f"{member}: {first['msg'][:200]} at {place}")
