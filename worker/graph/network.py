"""The one representation of a model: a plain FX graph of ATen ops."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, fx

from service.contract.resources import TensorInfo

__all__ = ["Network", "TensorSpec"]


@dataclass(frozen=True)
class TensorSpec:
    """A named input or output. A free dimension is a name (`"batch"`), a fixed one a number.

    `traced` are the sizes that the model was exported with, where they are known: sizes at which it is sure to run.
    `table_rows` is the number of rows of the embedding that an input of whole numbers indexes, where it does.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype
    traced: tuple[int, ...] | None = None
    table_rows: int | None = None

    @property
    def info(self) -> TensorInfo:
        """As a profile shows it."""
        return TensorInfo(name=self.name, shape=list(self.shape), dtype=str(self.dtype).removeprefix("torch."))


@dataclass(frozen=True)
class Network:
    """A model: `module(*inputs)` returns a tuple of tensors in the order of `outputs`.

    `module.graph` holds only placeholders, `get_attr` of parameters and buffers (dotted targets, the names of the
    upload), `call_function` nodes of allow-listed `torch.ops.aten` overloads and a few `operator` functions, and one
    output node that returns a tuple. Node metadata carries nothing from the upload.
    """

    module: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    source: Literal["pt2", "onnx"]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the graph. Shapes as in `inputs`, with one batch size for all."""
        return self.module(*inputs)  # type: ignore[no-any-return]

    def with_module(self, module: fx.GraphModule) -> "Network":
        return replace(self, module=module)

    def parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return self.module.named_parameters()

    def parameter_count(self) -> int:
        """Number of trainable values; statistics of batch norm are buffers and do not count."""
        return sum(parameter.numel() for _, parameter in self.module.named_parameters())
