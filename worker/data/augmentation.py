"""Random views of images, drawn anew for every sample of a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from service.contract.recipe import Augmentation

__all__ = ["augment", "flip", "shift"]

# He et al., "Deep Residual Learning", 2016, section 4.2 pad 32-pixel images by 4: an eighth of the side.
_SHIFT_SHARE = 8


def augment(
    inputs: tuple[Tensor, ...], kinds: Sequence[Augmentation], generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Apply `kinds` to every input of rank 4, (B, C, H, W) in stored units; other inputs pass.

    All images of one sample share the draw, so that pairs stay aligned. Draws happen even where no input is an image:
    the stream of `generator` depends on the batch size alone.
    """
    samples = len(inputs[0])
    if "flip" in kinds:
        mirrored = torch.rand(samples, generator=generator) < 0.5
        inputs = tuple(flip(value, mirrored) if value.ndim == 4 else value for value in inputs)
    if "crop" in kinds:
        offsets = torch.rand(samples, 2, generator=generator)
        inputs = tuple(shift(value, offsets) if value.ndim == 4 else value for value in inputs)
    return inputs


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror the images (B, C, H, W) where `mirrored` (B,) is true, left to right."""
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Pad the images (B, C, H, W) with zeros by an eighth of each side (at least a pixel) and crop to the old size.

    `offsets` (B, 2) in [0, 1) choose the corner of the crop. Zero is in stored units: black, before normalisation.
    """
    height, width = images.shape[2:]
    down, right = max(1, height // _SHIFT_SHARE), max(1, width // _SHIFT_SHARE)
    padded = functional.pad(images, (right, right, down, down))
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2·down + 1, 2·right + 1, H, W), no copy
    corner = (offsets * torch.tensor([2 * down + 1, 2 * right + 1])).long()
    return windows[torch.arange(len(images)), :, corner[:, 0], corner[:, 1]]
