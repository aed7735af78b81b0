"""Samples whose answer changed, the clearest changes first."""

import base64
import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

from service.contract.report import Exemplar
from worker.audit.metrics import divergences
from worker.data.answers import Answers

__all__ = ["ImageOf", "exemplars", "thumbnail"]

# Row of the uploaded dataset → uint8 image (H, W, 3), (H, W, 1) or (H, W), or None where there is none to show.
ImageOf = Callable[[int], npt.NDArray[np.uint8] | None]

_MOST = 18
_LARGEST_SIDE = 96


def exemplars(
    twin: Answers, pruned: Answers, names: tuple[str, ...], image_of: ImageOf | None, most: int = _MOST
) -> list[Exemplar]:
    """Up to `most` samples on which twin and pruned disagree, ranked by Jensen-Shannon divergence.

    They are examples of disagreement, not PIEs (Hooker et al. 2019): one pair of networks cannot show that a sample is
    hit systematically.
    """
    _, js = divergences(twin, pruned)
    changed = np.flatnonzero(twin.answer != pruned.answer)
    ranked = changed[np.argsort(-js[changed], kind="stable")][:most]
    shown = []
    for position in ranked:
        row = int(pruned.rows[position])
        image = image_of(row) if image_of is not None else None
        shown.append(
            Exemplar(
                index=row,
                label=None if pruned.labels is None else _name(names, int(pruned.labels[position])),
                twin=_name(names, int(twin.answer[position])),
                pruned=_name(names, int(pruned.answer[position])),
                js=float(js[position]),
                image=None if image is None else thumbnail(image),
            )
        )
    return shown


def thumbnail(image: npt.NDArray[np.uint8]) -> str:
    """A `data:` URI of a PNG of at most 96 pixels a side; small images keep their size."""
    pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _name(names: tuple[str, ...], answer: int) -> str:
    return "not a number" if answer < 0 else names[answer]
