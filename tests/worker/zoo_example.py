"""A network and what exporters need to know of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

__all__ = ["Example", "made", "perturb"]


@dataclass(frozen=True)
class Example:
    """`module`, in eval mode, runs on `inputs`; `dynamic_shapes` has the free axes of each input by number, and
    `input_names` are those of its `forward`."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    dynamic_shapes: tuple[dict[int, Dim], ...]
    input_names: tuple[str, ...]

    def exported(self) -> ExportedProgram:
        return torch.export.export(self.module, self.inputs, dynamic_shapes=self.dynamic_shapes)


def made(
    make: Callable[[], nn.Module], inputs: Callable[[], tuple[Tensor, ...]], *, free: tuple[int, ...] = ()
) -> Callable[[], Example]:
    """Makes an example with the same random weights each time. Axis 0 is the batch; inputs of one length share its name
    on the axes `free`."""

    def build() -> Example:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module, tensors = make().eval(), inputs()
        perturb(module)
        batch, dims = Dim("batch", min=1, max=1024), {}
        shapes: list[dict[int, Dim]] = []
        for tensor in tensors:
            lengths = {
                axis: dims.setdefault(tensor.shape[axis], Dim(f"length{len(dims) or ''}", min=1, max=48))
                for axis in free
            }
            shapes.append({0: batch, **lengths})
        names = tuple(inspect.signature(module.forward).parameters)[: len(tensors)]
        return Example(module, tensors, tuple(shapes), names)

    return build


def perturb(module: nn.Module) -> None:
    """Batch norm statistics that are not the identity; scales and shifts that are not 1 and 0, which would hide a wrong
    index."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
