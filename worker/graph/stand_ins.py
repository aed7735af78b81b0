"""Results of the right shape without the arithmetic, for a pass that only asks for shapes.

What takes time in a network are its products and what runs over its largest activations; both have results whose size
follows from those of the arguments. Their place is taken by a single number that is spread over that size: no
memory is filled. Everything else runs as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["stand_in"]

aten = torch.ops.aten

# Below that the op itself costs no more than finding out its size.
_SMALL = 4096

Arguments = tuple[Any, ...]


def stand_in(target: Any, args: Arguments) -> Tensor | None:
    """What the op would make of `args`, by shape and type; None for an op that has to run.

    Raises RuntimeError or ValueError where the arguments do not fit each other: a pass that runs says more.
    """
    size = _PRODUCTS.get(target)
    if size is not None:
        shape = size(*args)
        first = args[1] if target is aten.addmm.default else args[0]
        return None if shape is None else first.new_zeros(()).expand(shape)
    if not (args and isinstance(args[0], Tensor) and args[0].is_floating_point()):
        return None
    if target in _SHAPE_OF_FIRST:
        return args[0].new_zeros(()).expand(args[0].shape) if args[0].numel() > _SMALL else None
    if isinstance(target, torch._ops.OpOverload) and torch.Tag.pointwise in target.tags:
        return _pointwise(target, args)
    return None


def _pointwise(target: Callable[..., Tensor], args: Arguments) -> Tensor | None:
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if max(tensor.numel() for tensor in tensors) <= _SMALL or any(isinstance(arg, list) for arg in args):
        return None
    one = target(*(_one(arg) if isinstance(arg, Tensor) else arg for arg in args))
    return one.reshape(()).expand(_together(*(tensor.shape for tensor in tensors)))


def _one(tensor: Tensor) -> Tensor:
    """A single entry, with as many axes: the type of a result depends on whether there are any."""
    return tensor.as_strided((1,) * tensor.dim(), (1,) * tensor.dim())


def _convolution(
    x: Tensor, weight: Tensor, _bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[int, ...] | None:
    rank = weight.dim() - 2
    if x.dim() != rank + 2 or isinstance(padding, str) or x.shape[1] != weight.shape[1] * groups:
        return None
    stride, padding, dilation = (_spread(setting, rank) for setting in (stride, padding, dilation))
    windows = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(size + 2 * pad - apart * (kernel - 1) - 1) // step + 1 for size, kernel, step, pad, apart in windows]
    return (x.shape[0], weight.shape[0], *sizes) if min(sizes) > 0 else None


def _together(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that tensors of these shapes have together."""
    return tuple(np.broadcast_shapes(*map(tuple, shapes)))


def _spread(setting: int | list[int], rank: int) -> list[int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values * rank if len(values) == 1 else values


def _linear(x: Tensor, weight: Tensor, _bias: Any = None) -> tuple[int, ...] | None:
    fits = weight.dim() == 2 and x.dim() > 0 and x.shape[-1] == weight.shape[1]
    return (*x.shape[:-1], weight.shape[0]) if fits else None


def _product(left: Tensor, right: Tensor) -> tuple[int, ...] | None:
    if min(left.dim(), right.dim()) < 2 or left.shape[-1] != right.shape[-2]:
        return None
    return (*_together(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1])


def _affine(added: Tensor, left: Tensor, right: Tensor) -> tuple[int, ...] | None:
    shape = _product(left, right)
    return shape if shape is not None and _together(shape, added.shape) == shape else None


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[int, ...] | None:
    alike = query.dim() == key.dim() == value.dim() and query.shape[-1] == key.shape[-1]
    alike = alike and query.shape[0] == key.shape[0] == value.shape[0] and key.shape[-2] == value.shape[-2]
    return (*query.shape[:-1], value.shape[-1]) if alike else None


_PRODUCTS: dict[Any, Callable[..., tuple[int, ...] | None]] = {
    aten.conv1d.default: _convolution,
    aten.conv2d.default: _convolution,
    aten.conv3d.default: _convolution,
    aten.linear.default: _linear,
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.matmul.default: _product,
    aten.addmm.default: _affine,
    aten.scaled_dot_product_attention.default: _attention,
}

_SHAPE_OF_FIRST = frozenset(
    {aten.batch_norm.default, aten.layer_norm.default, aten.group_norm.default, aten.rms_norm.default}
)
