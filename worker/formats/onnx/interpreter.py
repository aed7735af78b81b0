"""Runs the steps of a plan with torch functions: on real tensors they compute, under `torch.export` they are traced."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worker.errors import UnsupportedModel
from worker.formats.onnx.host import host_array, shape_of
from worker.formats.onnx.node import Node
from worker.formats.onnx.plan import Argument, Computed, Plan, Step, Stored
from worker.formats.onnx.values import HOST_OPS, TENSOR_OPS, NotOnHost, Value, as_tensor, computing

__all__ = ["Interpreter", "TracedModule"]

_TAKES_NUMBERS = ("ConstantOfShape", "Expand", "Range")
"""Ops that make data of numbers."""


@dataclass(frozen=True)
class Interpreter:
    """`max_numel` bounds every value, symbolic sizes left out.

    `fixed_batch` is the batch size written into the file, if any. Where the batch is traced as a free size all the
    same, a Reshape or Expand to that size means the batch.
    """

    plan: Plan
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed_batch: int | None
    max_numel: int

    def run(self, stored: Mapping[str, Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The outputs of the graph; `stored` holds the tensors of the plan by name."""
        values: dict[str, Value] = dict(zip(self.inputs, inputs, strict=True))
        batch = inputs[0].shape[0]
        for step in self.plan.steps:
            made = self._run(step, [_value(argument, values, stored) for argument in step.arguments], batch)
            values.update((name, value) for name, value in zip(step.node.outputs, made, strict=False) if name)
        return tuple(value for name in self.outputs if isinstance(value := values[name], Tensor))

    def _run(self, step: Step, arguments: list[Value | None], batch: Any) -> tuple[Value, ...]:
        node = step.node
        with computing(node):
            if node.op_type in ("Reshape", "Expand") and not isinstance(batch, int):
                arguments[1] = self._with_free_batch(arguments[0], arguments[1], batch)
            if node.op_type == "Gather" and isinstance(arguments[0], Tensor) and not isinstance(batch, int):
                _refuse_one_sample(node, arguments[0], arguments[1], batch)
            if node.op_type in ("Shape", "Size"):
                return (shape_of(node, arguments[0].shape),)  # type: ignore[union-attr]  # planned for data only
            made = self._on_host(node, arguments) if step.on_host else TENSOR_OPS[node.op_type](node, *arguments)
        results = made if isinstance(made, tuple) else (made,)
        for value in results:
            self._check_size(node, value)
        return results

    @staticmethod
    def _on_host(node: Node, arguments: list[Value | None]) -> Value | tuple[Tensor, ...]:
        """Sizes; or data, where a free size is the length of what is made, or such data came in."""
        if not any(isinstance(argument, Tensor) for argument in arguments):
            try:
                return HOST_OPS[node.op_type](node, *arguments)
            except NotOnHost:
                pass
        if node.op_type not in TENSOR_OPS:
            raise node.refuse("computes with sizes that are free")
        first = arguments[0] if arguments else None
        if first is not None and node.op_type not in _TAKES_NUMBERS:
            arguments[0] = as_tensor(first)
        return TENSOR_OPS[node.op_type](node, *arguments)

    def _with_free_batch(self, x: Value | None, shape: Value | None, batch: Any) -> Value | None:
        """`shape` with the batch in place of the batch size that the file was exported with."""
        if isinstance(shape, Tensor) or shape is None or not isinstance(x, Tensor) or self.fixed_batch is None:
            return shape
        names_batch = shape.ndim == 1 and shape.size > 0 and shape[0] == self.fixed_batch
        if names_batch and not isinstance(x.size(0), int):
            return np.concatenate([host_array([batch]), shape[1:]])
        return shape

    def _check_size(self, node: Node, value: Value) -> None:
        numel = math.prod(size for size in value.shape if isinstance(size, int))
        if numel > self.max_numel:
            raise UnsupportedModel(
                f"{node.label} makes a tensor of shape [{', '.join(map(str, value.shape))}], "
                "more than the memory limit of a job can hold"
            )


class TracedModule(nn.Module):
    """The steps as a module with the parameters and buffers of the plan under their dotted names. The plan hands its
    arrays over one by one: those of the file are read-only and have to be copied, which no two networks should be
    held for."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__()
        self._interpreter = interpreter
        taken: set[int] = set()
        while interpreter.plan.tensors:
            tensor = interpreter.plan.tensors.pop(0)
            owner: nn.Module = self
            trainable, (*path, leaf) = tensor.trainable, tensor.name.split(".")
            for part in path:
                if part not in owner._modules:
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            array, where = tensor.array, tensor.array.__array_interface__["data"][0]
            own = array.flags.c_contiguous and array.flags.writeable and where not in taken
            taken.add(where)
            data = torch.from_numpy(array if own else np.array(array, order="C"))
            del tensor, array
            if trainable:
                owner.register_parameter(leaf, nn.Parameter(data))
            else:
                owner.register_buffer(leaf, data)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self._interpreter.run({**dict(self.named_parameters()), **dict(self.named_buffers())}, inputs)


def _refuse_one_sample(node: Node, x: Tensor, indices: Value | None, batch: torch.SymInt) -> None:
    size: Any = x.shape[node.integer("axis", 0)] if x.ndim else 1
    if isinstance(size, torch.SymInt) and size.node.expr == batch.node.expr and not isinstance(indices, Tensor):
        raise node.refuse("picks single samples of the batch")


def _value(argument: Argument, values: Mapping[str, Value], stored: Mapping[str, Tensor]) -> Value | None:
    if isinstance(argument, Computed):
        return values[argument.name]
    if isinstance(argument, Stored):
        return stored[argument.name]
    return argument
