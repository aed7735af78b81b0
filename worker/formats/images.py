"""One image file to one array of pixels."""

import io
import struct
import warnings
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from worker.errors import MalformedDataset, UnsafeDataset

__all__ = ["IMAGE_SUFFIXES", "decode_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_MOST_PIXELS = 4096 * 4096
_GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"})
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    OverflowError,
)
"""What Pillow's decoders raise for damaged files."""


def decode_image(name: str, data: bytes) -> npt.NDArray[np.uint8]:
    """Pixels as uint8 (height, width, channels): 3 channels for colour, 1 for grey. Transparency is dropped, the
    orientation tag ignored, as data loaders for training do.

    Raises:
        UnsafeDataset: far more pixels than a training image has.
        MalformedDataset: no image of a supported format, or a damaged one; names it.
    """
    try:
        # Pillow warns about large images when it opens them; the limit here is lower and is checked by hand.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > _MOST_PIXELS:
                raise UnsafeDataset(
                    f"the image {name!r} has {width} x {height} pixels; at most {_MOST_PIXELS:,} are read"
                )
            if image.mode not in _GREY | _COLOUR:
                raise MalformedDataset(
                    f"the image {name!r} has pixels of mode {image.mode!r}; 8 bits per channel are read"
                )
            pixels = np.asarray(image.convert("L" if image.mode in _GREY else "RGB"), dtype=np.uint8)
    except Image.DecompressionBombError as error:
        raise UnsafeDataset(f"the image {name!r} is far too large: {error}") from error
    except _BROKEN as error:
        raise MalformedDataset(f"the image {name!r} cannot be decoded: {str(error)[:200]}") from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
