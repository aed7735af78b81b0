"""A trial run without memory or arithmetic: shapes of every value, errors of the graph, cost in bytes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from worker.errors import MalformedModel, UnsupportedModel
from worker.graph.allowlist import OPERATOR_FUNCTIONS

__all__ = ["MEANINGLESS", "trial_run"]

_LARGEST_SIZE = 2**63 - 1
MEANINGLESS = (
    RuntimeError,
    TypeError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    ZeroDivisionError,
    OverflowError,
    AssertionError,
    NotImplementedError,
)
"""What torch raises for arguments that make no sense together."""


class _Trial(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, memory_bytes: int) -> None:
        super().__init__(module)
        self._memory_bytes = memory_bytes
        self._meta: dict[str, Tensor] = {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target not in self._meta:
            self._meta[target] = super().get_attr(target, args, kwargs).detach().to("meta")
        return self._meta[target]

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if not isinstance(target, torch._ops.OpOverload):
            _check_operands(target, args)
        elif target is torch.ops.aten.view.default:
            # Without memory, attention answers other strides than with it, and a view that works would fail here.
            target = torch.ops.aten.reshape.default
        elif any(a.name == "device" for a in target._schema.arguments):
            kwargs = {**kwargs, "device": "meta"}
        return super().call_function(target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except MEANINGLESS as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise MalformedModel(f"{n.name} ({n.target}) does not run: {reason[:300]}") from error
        if isinstance(result, int) and abs(result) > _LARGEST_SIZE:
            raise MalformedModel(f"{n.name} ({n.target}) computes a size that no tensor can have")
        if isinstance(result, Tensor) and result.numel() * result.itemsize > self._memory_bytes:
            raise UnsupportedModel(
                f"{n.name} ({n.target}) makes a tensor of shape {list(result.shape)}, which is larger than the "
                f"{self._memory_bytes:,} bytes a job may use"
            )
        return result


def _check_operands(function: Any, args: tuple[Any, ...]) -> None:
    """Python functions work on sizes only: `mul` of a tuple and a number would be a very long tuple."""
    items, numbers = (args[:1], args[1:]) if function is OPERATOR_FUNCTIONS["getitem"] else ((), args)
    if not all(isinstance(value, tuple | list) for value in items):
        raise TypeError("an item is taken of something that has none")
    if not all(isinstance(value, int | float) for value in numbers):
        raise TypeError("only sizes can be computed with")


def trial_run(
    module: fx.GraphModule, inputs: Sequence[tuple[Sequence[int], torch.dtype]], memory_bytes: int
) -> tuple[Tensor, ...]:
    """Run `module` on tensors of the given shapes and dtypes that have no values; answers such tensors.

    Raises:
        MalformedModel: a node does not run on what it is given; names the node, the op and torch's reason.
        UnsupportedModel: a node makes a tensor that no job can hold.
    """
    tensors = [torch.empty(tuple(shape), dtype=dtype, device="meta") for shape, dtype in inputs]
    with torch.no_grad():
        outputs = _Trial(module, memory_bytes).run(*tensors)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise UnsupportedModel("the model answers something else than tensors")
    return tuple(outputs)
