"""From stored samples to what the model was trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from service.contract.fit import Feed, Layout, Misfit, fit
from service.contract.recipe import Input
from worker.data.dataset import Dataset
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
        """Resolve what the recipe leaves open, by the rules of `service.contract.fit`.

        Raises MismatchedDataset, naming both shapes and the way out.
        """
        try:
            found = fit(declared, dataset.infos, [spec.info for spec in inputs])
        except Misfit as misfit:
            raise MismatchedDataset(misfit.detail) from misfit
        for feed, spec in zip(found.feeds, inputs, strict=True):
            _check_ids(dataset.arrays[feed.array.name], feed, spec)
        sources = tuple(_source(feed, spec) for feed, spec in zip(found.feeds, inputs, strict=True))
        return InputTransform(found.input, sources)

    def read(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Samples in stored units, one tensor per input, images as (B, C, H, W): what augmentation works on."""
        return tuple(source.read(dataset.arrays[source.array][rows]) for source in self.sources)

    def normalize(self, values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What `read` returned, ready for the network."""
        return tuple(source.normalize(value) for source, value in zip(self.sources, values, strict=True))

    def __call__(self, dataset: Dataset, rows: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
        return self.normalize(self.read(dataset, rows))


def _check_ids(samples: npt.NDArray[np.generic], feed: Feed, spec: TensorSpec) -> None:
    if spec.table_rows is None or not samples.size:
        return
    lowest, highest = int(samples.min()), int(samples.max())
    if lowest < 0 or highest >= spec.table_rows:
        raise MismatchedDataset(
            f"array `{feed.array.name}` holds ids from {lowest:,} to {highest:,} and the model's input `{spec.name}` "
            f"looks them up in a table of {spec.table_rows:,} rows, numbered from 0: encode the samples with the "
            "vocabulary that the model was trained with"
        )


def _source(feed: Feed, spec: TensorSpec) -> Source:
    how = feed.input
    scale, mean, std = how.scale, np.array(how.mean), np.array(how.std)
    trailing = (1,) * (len(spec.shape) - 2)
    identity = scale == 1.0 and not mean.any() and bool((std == 1.0).all())
    return Source(
        array=feed.array.name,
        dtype=spec.dtype,
        layout=how.layout,
        resize=(how.resize[0], how.resize[1]) if how.resize else None,
        factor=None if identity else _float32(scale / std, trailing),
        offset=None if identity else _float32(-mean / std, trailing),
    )


def _float32(values: npt.NDArray[np.float64], trailing: tuple[int, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(-1, *trailing)


def _readable(samples: npt.NDArray[np.generic], dtype: torch.dtype) -> npt.NDArray[np.generic]:
    """In a dtype and byte order that torch takes; uint8 stays, to be moved and augmented at a quarter of the size."""
    if samples.dtype == np.uint8:
        return samples
    return samples.astype(np.float32 if dtype.is_floating_point else np.int64, copy=False)
