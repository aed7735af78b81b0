"""The batch dimension: given as free by the file, or found to be free by trying."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from worker.errors import MalformedModel, UnsupportedModel
from worker.formats.advice import EXPORT_ADVICE
from worker.formats.pt2.fixed_batch import follow_batch, mixed_output
from worker.formats.pt2.schema import Size
from worker.formats.pt2.signature import Declared
from worker.formats.pt2.tensors import DTYPES
from worker.formats.trial import MEANINGLESS, trial_run
from worker.graph.network import TensorSpec
from worker.graph.shapes import UNKNOWN_SIZE

__all__ = ["described_border"]

_SYMBOL = re.compile(r"Symbol\('(\w{1,64})'[^()]{0,200}\)|(s\d{1,9})")
_TRACED_AT_MOST = 65_536
_TRIAL_BATCHES = (2, 3)

Shapes = tuple[tuple[int, ...], ...]


def described_border(
    module: fx.GraphModule, inputs: Sequence[Declared], outputs: Sequence[str], memory_bytes: int
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs with their shapes, which come from running the graph, not from the file.

    The first axis of every input is the batch. A graph that was exported with a fixed batch is freed where that can be
    shown to change nothing; `module` is then changed in place.

    Raises:
        UnsupportedModel: a graph that only works for the batch it was exported with.
        MalformedModel: a graph that does not run on its own inputs.
    """
    batch = _declared_batch(inputs)
    if isinstance(batch, int):
        _free_batch(module, inputs, outputs, batch, memory_bytes)
    small, large = (_trial(module, inputs, size, memory_bytes) for size in _TRIAL_BATCHES)
    longer = _trial(module, inputs, _TRIAL_BATCHES[0], memory_bytes, stretch=2) if _has_lengths(inputs) else small
    described = tuple(
        TensorSpec(name, _output_shape(a.shape, b.shape, c.shape), a.dtype)
        for name, a, b, c in zip(outputs, small, large, longer, strict=True)
    )
    if described[0].shape[:1] != ("batch",):
        raise UnsupportedModel(
            f"the output {described[0].name!r} of shape {list(described[0].shape)} does not have the batch as its "
            "first axis"
        )
    return tuple(_input_spec(declared) for declared in inputs), described


def _declared_batch(inputs: Sequence[Declared]) -> int | str:
    """The fixed size or the symbol of the first axis, which all inputs must share."""
    found: set[int | str] = set()
    for declared in inputs:
        if not declared.meta.sizes:
            raise UnsupportedModel(f"the input {declared.name!r} is a single number; the first axis must be the batch")
        found.add(_symbol(declared.meta.sizes[0]))
    if len(found) > 1:
        shapes = ", ".join(f"{declared.name} {[_symbol(size) for size in declared.meta.sizes]}" for declared in inputs)
        raise UnsupportedModel(f"the first axis of every input must be the same batch; found {shapes}. {EXPORT_ADVICE}")
    return found.pop()


def _symbol(size: Size) -> int | str:
    """A fixed size, or text that is equal for equal symbols. Expressions are compared, never evaluated."""
    if size.as_expr is None:
        assert size.as_int is not None
        return size.as_int
    found = _SYMBOL.fullmatch(size.as_expr.expr_str)
    return (found[1] or found[2]) if found else size.as_expr.expr_str


def _input_spec(declared: Declared) -> TensorSpec:
    shape: list[int | str] = ["batch"]
    names: dict[str, str] = {}
    for axis, size in enumerate(declared.meta.sizes[1:], start=1):
        symbol = _symbol(size)
        shape.append(symbol if isinstance(symbol, int) else names.setdefault(symbol, f"size{axis}"))
    traced = tuple(_concrete(size) for size in declared.meta.sizes)
    return TensorSpec(declared.name, tuple(shape), DTYPES[declared.meta.dtype], traced)


def _has_lengths(inputs: Sequence[Declared]) -> bool:
    return any(size.as_expr is not None for declared in inputs for size in declared.meta.sizes[1:])


def _output_shape(small: torch.Size, large: torch.Size, longer: torch.Size) -> tuple[int | str, ...]:
    if not len(small) == len(large) == len(longer):
        raise UnsupportedModel("the rank of an output depends on the size of the input")
    return tuple(
        "batch" if (a, b) == _TRIAL_BATCHES else a if a == b == c else f"size{axis}"
        for axis, (a, b, c) in enumerate(zip(small, large, longer, strict=True))
    )


def _shapes(inputs: Sequence[Declared], batch: int, stretch: int = 1) -> Shapes:
    return tuple(
        (batch, *(_concrete(size) * (stretch if size.as_expr else 1) for size in declared.meta.sizes[1:]))
        for declared in inputs
    )


def _concrete(size: Size) -> int:
    if size.as_expr is None:
        assert size.as_int is not None
        return size.as_int
    hint = size.as_expr.hint
    return hint.as_int if hint and hint.as_int and 1 <= hint.as_int <= _TRACED_AT_MOST else UNKNOWN_SIZE


def _trial(
    module: fx.GraphModule, inputs: Sequence[Declared], batch: int, memory_bytes: int, stretch: int = 1
) -> tuple[Tensor, ...]:
    dtypes = [DTYPES[declared.meta.dtype] for declared in inputs]
    return trial_run(module, list(zip(_shapes(inputs, batch, stretch), dtypes, strict=True)), memory_bytes)


def _free_batch(
    module: fx.GraphModule, inputs: Sequence[Declared], outputs: Sequence[str], batch: int, memory_bytes: int
) -> None:
    """Free a graph that was exported for `batch` samples, and make sure that it still treats them one by one."""
    refusal = f"the model was exported for batches of exactly {batch}, and its ops depend on that. {EXPORT_ADVICE}"
    _trial(module, inputs, batch, memory_bytes)
    follow_batch(module, batch)
    try:
        for size in (*_TRIAL_BATCHES, batch + 1):
            if any(output.shape[:1] != (size,) for output in _trial(module, inputs, size, memory_bytes)):
                raise UnsupportedModel(refusal)
    except MalformedModel as error:
        raise UnsupportedModel(f"{refusal} ({error})") from error
    try:
        name = mixed_output(module, _random(inputs, batch + 1), batch, outputs)
    except MEANINGLESS as error:
        raise UnsupportedModel(f"{refusal} ({str(error)[:300]})") from error
    if name is not None:
        raise UnsupportedModel(f"{refusal} (in the output {name!r} a sample depends on the others)")


def _random(inputs: Sequence[Declared], batch: int) -> list[Tensor]:
    """Zeros and ones: every dtype holds them, and they index any table."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 2, shape, generator=generator).to(DTYPES[declared.meta.dtype])
        for shape, declared in zip(_shapes(inputs, batch), inputs, strict=True)
    ]
