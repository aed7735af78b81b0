"""Which array feeds which input of the model, and along which axes. The API checks the same rules on shapes alone."""

from collections.abc import Mapping
from typing import Literal

from worker.errors import MismatchedDataset

__all__ = ["Layout", "bind", "fit_features", "fit_image"]

Layout = Literal["nchw", "nhwc"]
Shape = tuple[int, ...]
SpecShape = tuple[int | str, ...]


def bind(arrays: Mapping[str, object], inputs: tuple[str, ...]) -> dict[str, str]:
    """The array of each model input, by name; a single array fits a single input whatever the names.

    Raises MismatchedDataset for an input without an array.
    """
    if len(arrays) == 1 and len(inputs) == 1:
        return {inputs[0]: next(iter(arrays))}
    missing = [name for name in inputs if name not in arrays]
    if missing:
        raise MismatchedDataset(
            f"the model's inputs are {_names(inputs)} and the dataset's arrays are {_names(arrays)}: "
            f"nothing feeds {_names(missing)}; name one array after each input"
        )
    return {name: name for name in inputs}


def fit_image(
    array: str, shape: Shape, input_: str, spec: SpecShape, layout: Layout | None, resize: list[int] | None
) -> Layout:
    """The axis order that brings an array of images to the model's (batch, C, H, W).

    `shape` is that of the whole array: (N, C, H, W), (N, H, W, C) or, for grey images, (N, H, W). Dimensions that the
    model leaves free fit everything; `resize` stands for H and W where it is given. Where both orders fit, `nchw` is
    meant. Raises MismatchedDataset with both shapes and the way out.
    """
    orders: tuple[Layout, ...] = ("nchw", "nhwc")
    candidates = {order: image for order in orders if (image := _channels_first(shape, order)) is not None}
    fitting = [order for order, image in candidates.items() if _fits(_resized(image, resize), spec[1:])]
    if layout in fitting:
        return layout
    if layout is None and fitting:
        return fitting[0]
    raise MismatchedDataset(
        f"array `{array}` is {_shape(('N', *shape[1:]))} and the model's input `{input_}` is {_shape(spec)}"
        + (f" with input.layout `{layout}`" if layout else "")
        + (f" and input.resize {resize}" if resize else "")
        + f": {_way_out(candidates, spec[1:], layout, fitting)}"
    )


def fit_features(array: str, shape: Shape, input_: str, spec: SpecShape) -> None:
    """Feature vectors, sequences, token ids: the shapes must agree as they are. Raises MismatchedDataset."""
    if not _fits(shape[1:], spec[1:]):
        raise MismatchedDataset(
            f"array `{array}` is {_shape(('N', *shape[1:]))} and the model's input `{input_}` is {_shape(spec)}: "
            "reshape the array before the upload"
        )


def _channels_first(shape: Shape, layout: Layout) -> Shape | None:
    sample = shape[1:]
    if len(sample) == 2:  # grey images have no channel axis to disagree about
        return (1, *sample)
    if len(sample) != 3:
        return None
    return sample if layout == "nchw" else (sample[2], sample[0], sample[1])


def _resized(image: Shape, resize: list[int] | None) -> Shape:
    return image if resize is None else (image[0], resize[0], resize[1])


def _fits(sample: Shape, spec: SpecShape) -> bool:
    return len(sample) == len(spec) and all(
        isinstance(wanted, str) or size == wanted for size, wanted in zip(sample, spec, strict=True)
    )


def _way_out(candidates: dict[Layout, Shape], spec: SpecShape, layout: Layout | None, fitting: list[Layout]) -> str:
    if fitting:
        return f'the samples fit with "layout": "{fitting[0]}"'
    if not candidates:
        return "images are uploaded as (N, height, width, channels), (N, channels, height, width) or (N, height, width)"
    channels, height, width = spec
    considered = [image for order, image in candidates.items() if layout in (None, order)]
    if not any(_fits(image[:1], (channels,)) for image in considered):
        return f"neither axis order gives {channels} channels; convert the images before the upload"
    if isinstance(height, int) and isinstance(width, int):
        return f'set "resize": [{height}, {width}] in the recipe\'s input'
    return 'set "resize": [height, width] in the recipe\'s input'


def _shape(shape: SpecShape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _names(names: object) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"  # type: ignore[attr-defined]  # any iterable of names
