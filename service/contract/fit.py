"""Which array of a dataset feeds which input of a model, and what the recipe's `input` leaves open for it.

The rules work on shapes and dtypes alone. A request is judged by them before it is queued, and a job reads its samples
by them, so both say the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.contract.recipe import Input
from service.contract.resources import ArrayInfo, TensorInfo

__all__ = ["UINT8_SCALE", "Feed", "Fit", "Layout", "Misfit", "check_classes", "fit", "takes_image"]

Layout = Literal["nchw", "nhwc"]

UINT8_SCALE = 1 / 255
_IMAGE_RANK = 4
_WHOLE = ("bool", "int", "uint")
_REAL = ("float", "bfloat")


class Misfit(Exception):
    """The samples do not fit the model. `field` is the part of the recipe's `input` at fault, None for the dataset."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


@dataclass(frozen=True)
class Feed:
    """An input of the model and the array that feeds it. `input` says how, without open fields; its layout is None for
    what is no image."""

    tensor: TensorInfo
    array: ArrayInfo
    input: Input


@dataclass(frozen=True)
class Fit:
    """`input` is the declaration with every default filled in that is the same for all inputs it applies to."""

    input: Input
    feeds: tuple[Feed, ...]


def takes_image(tensor: TensorInfo) -> bool:
    """Whether an input is an image: (batch, channels, height, width)."""
    return len(tensor.shape) == _IMAGE_RANK


def fit(declared: Input, arrays: Sequence[ArrayInfo], inputs: Sequence[TensorInfo]) -> Fit:
    """Feed every input of the model.

    A single array fits a single input whatever their names; else the names must agree, and arrays that no input asks
    for are left out. `declared` applies to the images; where the model takes none, to its real-valued features. The
    layout of images defaults to the order whose shape fits (`nchw` where both do), their scale to 1/255 for uint8 that
    becomes real. Token ids and other whole numbers pass as they are.

    Raises:
        Misfit: an input without an array, or an array, a mean or a std of the wrong shape or dtype.
    """
    images = any(takes_image(tensor) for tensor in inputs)
    feeds, declarations = [], []
    for tensor, array in _pairs(arrays, inputs):
        _check_dtype(array, tensor)
        applies = takes_image(tensor) if images else _is(tensor, _REAL) and len(array.shape) > 1
        asked = declared if applies else Input()
        filled = _image(asked, array, tensor) if takes_image(tensor) else _features(asked, array, tensor)
        feeds.append(Feed(tensor, array, filled))
        if applies:
            declarations.append(filled)
    return Fit(_shared(declared, declarations), tuple(feeds))


def check_classes(lowest: int, highest: int, output: TensorInfo) -> None:
    """Whether class labels from `lowest` to `highest` fit the first output of the model.

    Raises:
        Misfit: the output is not (batch, classes), or a label is none of its classes.
    """
    if len(output.shape) != 2:
        raise Misfit(
            f"labels are class indices and the model's first output `{output.name}` is {_shape(output.shape)}: classes "
            "need an output of shape (batch, classes); for other targets store the labels as floats"
        )
    if lowest < 0:
        raise Misfit(f"label {lowest} is negative: classes are numbered from 0")
    classes = output.shape[1]
    if isinstance(classes, int) and highest >= classes:
        one = "; for a single output store the labels as floats, or export the model with two" if classes == 1 else ""
        raise Misfit(
            f"label {highest} is out of range: the model's output `{output.name}` has {classes} classes, numbered "
            f"0 to {classes - 1}{one}"
        )


def _shared(declared: Input, filled: list[Input]) -> Input:
    """What all agree on. A field in which two inputs differ stays open: the declaration has to mean the same for each
    when it is sent again."""
    update = {}
    for field in ("layout", "scale", "mean", "std"):
        values = [getattr(one, field) for one in filled]
        if values and values[0] is not None and all(value == values[0] for value in values):
            update[field] = values[0]
    return declared.model_copy(update=update)


def _pairs(arrays: Sequence[ArrayInfo], inputs: Sequence[TensorInfo]) -> list[tuple[TensorInfo, ArrayInfo]]:
    if len(arrays) == len(inputs) == 1:
        return [(inputs[0], arrays[0])]
    named = {array.name: array for array in arrays}
    missing = [tensor.name for tensor in inputs if tensor.name not in named]
    if missing:
        raise Misfit(
            f"the model's inputs are {_names(tensor.name for tensor in inputs)} and the dataset's arrays are "
            f"{_names(named)}: nothing feeds {_names(missing)}; name one array after each input"
        )
    return [(tensor, named[tensor.name]) for tensor in inputs]


def _check_dtype(array: ArrayInfo, tensor: TensorInfo) -> None:
    if not _is(array, (*_WHOLE, *_REAL)):
        raise Misfit(f"array `{array.name}` holds {array.dtype}: numbers are needed")
    if _is(array, _REAL) and not _is(tensor, _REAL):
        raise Misfit(
            f"array `{array.name}` holds {array.dtype} and the model's input `{tensor.name}` takes {tensor.dtype}: "
            "upload integers"
        )


def _is(described: ArrayInfo | TensorInfo, kinds: tuple[str, ...]) -> bool:
    return described.dtype.startswith(kinds)


def _features(declared: Input, array: ArrayInfo, tensor: TensorInfo) -> Input:
    """Feature vectors, sequences, token ids: the shapes must agree as they are."""
    if not _fits(array.shape[1:], tensor.shape[1:]):
        raise Misfit(f"{_both(array, tensor)}: reshape the array before the upload")
    _check_lengths(declared, array, array.shape[1] if len(array.shape) > 1 else 1, "features")
    return _filled(declared, layout=None, scale=1.0)


def _image(declared: Input, array: ArrayInfo, tensor: TensorInfo) -> Input:
    layout = _layout(declared, array, tensor)
    image = _channels_first(array.shape[1:], layout)
    assert image is not None
    _check_lengths(declared, array, image[0], "channels")
    becomes_real = array.dtype == "uint8" and _is(tensor, _REAL)
    return _filled(declared, layout=layout, scale=UINT8_SCALE if becomes_real else 1.0)


def _filled(declared: Input, *, layout: Layout | None, scale: float) -> Input:
    return Input(
        layout=layout,
        scale=scale if declared.scale is None else declared.scale,
        mean=[0.0] if declared.mean is None else declared.mean,
        std=[1.0] if declared.std is None else declared.std,
        resize=declared.resize if layout is not None else None,
    )


def _check_lengths(declared: Input, array: ArrayInfo, size: int, of: str) -> None:
    for field, values in (("mean", declared.mean), ("std", declared.std)):
        if values is not None and len(values) not in (1, size):
            raise Misfit(
                f"input.{field} has {len(values)} values and the samples of `{array.name}` have {size} {of}: "
                f"give one value, or {size}",
                field,
            )


def _layout(declared: Input, array: ArrayInfo, tensor: TensorInfo) -> Layout:
    """The axis order in which images of (N, C, H, W), (N, H, W, C) or, where they are grey, (N, H, W) fit."""
    orders: tuple[Layout, ...] = ("nchw", "nhwc")
    candidates = {order: image for order in orders if (image := _channels_first(array.shape[1:], order)) is not None}
    fitting = [order for order, image in candidates.items() if _fits(_resized(image, declared), tensor.shape[1:])]
    if declared.layout in fitting:
        return declared.layout
    if declared.layout is None and fitting:
        return fitting[0]
    raise Misfit(
        _both(array, tensor)
        + (f" with input.layout `{declared.layout}`" if declared.layout else "")
        + (f" and input.resize {declared.resize}" if declared.resize else "")
        + f": {_way_out(candidates, tensor, declared.layout, fitting)}"
    )


def _channels_first(sample: Sequence[int], layout: Layout) -> tuple[int, int, int] | None:
    if len(sample) == 2:  # grey images have no channel axis to disagree about
        return 1, sample[0], sample[1]
    if len(sample) != 3:
        return None
    first, second, third = sample
    return (first, second, third) if layout == "nchw" else (third, first, second)


def _resized(image: tuple[int, int, int], declared: Input) -> Sequence[int]:
    return image if declared.resize is None else (image[0], *declared.resize)


def _fits(sample: Sequence[int], wanted: Sequence[int | str]) -> bool:
    """Dimensions that the model leaves free fit everything."""
    return len(sample) == len(wanted) and all(
        isinstance(free_or_size, str) or free_or_size == size for size, free_or_size in zip(sample, wanted, strict=True)
    )


def _way_out(
    candidates: dict[Layout, tuple[int, int, int]], tensor: TensorInfo, layout: Layout | None, fitting: list[Layout]
) -> str:
    if fitting:
        return f'the samples fit with "layout": "{fitting[0]}"'
    if not candidates:
        return "images are uploaded as (N, height, width, channels), (N, channels, height, width) or (N, height, width)"
    channels, height, width = tensor.shape[1:]
    considered = [image for order, image in candidates.items() if layout in (None, order)]
    if not any(_fits(image[:1], [channels]) for image in considered):
        return f"neither axis order gives {channels} channels; convert the images before the upload"
    if isinstance(height, int) and isinstance(width, int):
        return f'set "resize": [{height}, {width}] in the recipe\'s input'
    return 'set "resize": [height, width] in the recipe\'s input'


def _both(array: ArrayInfo, tensor: TensorInfo) -> str:
    samples, wanted = _shape(["N", *array.shape[1:]]), _shape(tensor.shape)
    return f"array `{array.name}` is {samples} and the model's input `{tensor.name}` is {wanted}"


def _shape(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
