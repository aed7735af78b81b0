import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.worker.audit.synthetic import audit_of
from worker.audit.audit import audit
from worker.audit.exemplars import thumbnail


def decode(uri: str) -> npt.NDArray[np.uint8]:
    head, data = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_small_image_is_kept_pixel_for_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert (decode(thumbnail(image)) == image).all()


def test_a_large_image_shrinks_to_ninety_six_pixels_and_keeps_its_shape() -> None:
    assert decode(thumbnail(np.zeros((200, 400, 1), dtype=np.uint8))).shape == (48, 96)


def test_the_clearest_changes_come_first_with_their_picture() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2000, 8, 8, 3), dtype=np.uint8)
    shown = audit(audit_of([200] * 10, [0.1] * 10, image_of=lambda row: images[row])).exemplars
    assert len(shown) == 18
    assert [exemplar.js for exemplar in shown] == sorted((exemplar.js for exemplar in shown), reverse=True)
    assert all(exemplar.twin != exemplar.pruned for exemplar in shown)
    assert shown[0].image is not None
    assert (decode(shown[0].image) == images[shown[0].index]).all()


def test_a_sample_without_a_picture_is_shown_in_words() -> None:
    assert audit(audit_of([200] * 10, [0.1] * 10, image_of=lambda row: None)).exemplars[0].image is None
