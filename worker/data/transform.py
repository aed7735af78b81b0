"""From stored samples to what the model was trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from service.contract.recipe import Input
from worker.data.dataset import Dataset
from worker.data.fit import Layout, bind, fit_features, fit_image
from worker.errors import MismatchedDataset
from worker.graph.network import TensorSpec

__all__ = ["InputTransform", "Source"]

_IMAGE_RANK = 4


@dataclass(frozen=True)
class Source:
    """Where one input of the model comes from.

    `layout` is None for what is no image. `factor` and `offset`, shaped to broadcast over a batch, make
    `x * factor + offset` of the declared `(x * scale - mean) / std`; both are None where that changes nothing.
    """

    array: str
    dtype: torch.dtype
    layout: Layout | None
    resize: tuple[int, int] | None
    factor: Tensor | None
    offset: Tensor | None

    def read(self, samples: npt.NDArray[np.generic]) -> Tensor:
        """Stored samples as a contiguous tensor. Images become (B, C, H, W), keep uint8 and are resized."""
        if self.layout is None:
            return torch.from_numpy(_readable(samples, self.dtype))
        # Contiguous, always: oneDNN of torch 2.13 corrupts the heap in a weight gradient of channels-last input.
        images = torch.from_numpy(_readable(samples, torch.float32))
        if images.ndim == _IMAGE_RANK - 1:
            images = images.unsqueeze(1)
        elif self.layout == "nhwc":
            images = images.permute(0, 3, 1, 2).contiguous()
        if self.resize is not None and tuple(images.shape[2:]) != self.resize:
            images = functional.interpolate(
                images.float(), self.resize, mode="bilinear", antialias=True, align_corners=False
            )
        return images

    def normalize(self, values: Tensor) -> Tensor:
        """Apply scale, mean and std, and the dtype of the model's input."""
        if self.factor is None or self.offset is None:
            return values.to(self.dtype)
        return values.to(torch.float32, copy=True).mul_(self.factor).add_(self.offset).to(self.dtype)


@dataclass(frozen=True)
class InputTransform:
    """All inputs of the model. `resolved` is the declaration with every default filled in."""

    resolved: Input
    sources: tuple[Source, ...]

    @staticmethod
    def build(declared: Input, dataset: Dataset, inputs: tuple[TensorSpec, ...]) -> "InputTransform":
        """Resolve what the recipe leaves open.

        An input of rank 4 and real dtype is an image: its layout is the one that fits, its scale 1/255 for uint8 and
        1 otherwise. Where the model takes no image, `scale`, `mean` and `std` apply to its real inputs if given.
        Token ids and other integers pass as they are. Raises MismatchedDataset, naming both shapes and the way out.
        """
        arrays = bind(dataset.arrays, tuple(spec.name for spec in inputs))
        images = [spec for spec in inputs if len(spec.shape) == _IMAGE_RANK]
        resolved = declared
        sources = []
        for spec in inputs:
            name = arrays[spec.name]
            samples = dataset.arrays[name]
            _check_dtype(name, samples, spec)
            if spec in images:
                layout = fit_image(name, samples.shape, spec.name, spec.shape, declared.layout, declared.resize)
                eight_bit = samples.dtype == np.uint8 and spec.dtype.is_floating_point
                filled = _filled(declared, scale=1 / 255 if eight_bit else 1.0, layout=layout)
                resolved = filled if spec is images[0] else resolved
                channels = 1 if samples.ndim < _IMAGE_RANK else samples.shape[1 if layout == "nchw" else 3]
                sources.append(_source(name, spec, filled, channels))
            else:
                fit_features(name, samples.shape, spec.name, spec.shape)
                applies = not images and spec.dtype.is_floating_point and samples.ndim > 1
                filled = _filled(declared if applies else Input(), scale=1.0, layout=None)
                resolved = filled if applies else resolved
                sources.append(_source(name, spec, filled, samples.shape[1] if samples.ndim > 1 else 1))
        return InputTransform(resolved, tuple(sources))

    def read(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Samples in stored units, one tensor per input, images as (B, C, H, W): what augmentation works on."""
        return tuple(source.read(dataset.arrays[source.array][rows]) for source in self.sources)

    def normalize(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What `read` returned, ready for the network."""
        return tuple(source.normalize(value) for source, value in zip(self.sources, values, strict=True))

    def __call__(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        return self.normalize(self.read(dataset, rows))


def _filled(declared: Input, scale: float, layout: Layout | None) -> Input:
    return Input(
        layout=layout or declared.layout,
        scale=scale if declared.scale is None else declared.scale,
        mean=declared.mean or [0.0],
        std=declared.std or [1.0],
        resize=declared.resize,
    )


def _source(array: str, spec: TensorSpec, filled: Input, channels: int) -> Source:
    is_image = len(spec.shape) == _IMAGE_RANK
    scale, mean, std = filled.scale or 1.0, np.array(filled.mean), np.array(filled.std)
    for field, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise MismatchedDataset(
                f"input.{field} has {len(values)} values and the samples of `{array}` have {channels} "
                f"{'channels' if is_image else 'features'}: give one value, or {channels}"
            )
    trailing = (1,) * (len(spec.shape) - 2)
    identity = scale == 1.0 and not mean.any() and bool((std == 1.0).all())
    return Source(
        array=array,
        dtype=spec.dtype,
        layout=filled.layout if is_image else None,
        resize=(filled.resize[0], filled.resize[1]) if is_image and filled.resize else None,
        factor=None if identity else _float32(scale / std, trailing),
        offset=None if identity else _float32(-mean / std, trailing),
    )


def _float32(values: npt.NDArray[np.float64], trailing: tuple[int, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, *trailing)


def _check_dtype(name: str, samples: npt.NDArray[np.generic], spec: TensorSpec) -> None:
    if samples.dtype.kind not in "biuf":
        raise MismatchedDataset(f"array `{name}` holds {samples.dtype}: numbers are needed")
    if samples.dtype.kind == "f" and not spec.dtype.is_floating_point:
        raise MismatchedDataset(
            f"array `{name}` holds {samples.dtype} and the model's input `{spec.name}` takes "
            f"{str(spec.dtype).removeprefix('torch.')}: upload integers"
        )


def _readable(samples: npt.NDArray[np.generic], dtype: torch.dtype) -> npt.NDArray[np.generic]:
    """In a dtype and byte order that torch takes; uint8 stays, to be moved and augmented at a quarter of the size."""
    if samples.dtype == np.uint8:
        return samples
    return samples.astype(np.float32 if dtype.is_floating_point else np.int64, copy=False)
