import numpy as np
import torch

from worker.data.augmentation import augment, flip, shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(samples: int = 3) -> torch.Tensor:
    return (
        torch.arange(samples * 2 * 16 * 8, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(samples, 2, 16, 8)
    )


def test_a_flip_mirrors_the_chosen_images_from_left_to_right():
    flipped = flip(images(), torch.tensor([True, False, True]))
    assert torch.equal(flipped[0], images()[0].flip(-1))
    assert torch.equal(flipped[1], images()[1])


def test_a_shift_is_a_crop_of_the_zero_padded_image():
    offsets = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999]])
    shifted = shift(images(), offsets).numpy()
    padded = np.pad(images().numpy(), ((0, 0), (0, 0), (2, 2), (1, 1)))  # an eighth of 16 and of 8
    for sample, (top, left) in enumerate([(0, 0), (2, 1), (4, 2)]):
        np.testing.assert_array_equal(shifted[sample], padded[sample, :, top : top + 16, left : left + 8])
    np.testing.assert_array_equal(shifted[1], images()[1].numpy())


def test_every_offset_is_drawn():
    offsets = torch.rand(500, 2, generator=generator())
    assert len(torch.unique(shift(images(1).repeat(500, 1, 1, 1), offsets), dim=0)) == 5 * 3


def test_views_keep_dtype_and_layout_and_follow_the_generator():
    (first,) = augment((images(),), ["flip", "crop"], generator())
    (second,) = augment((images(),), ["flip", "crop"], generator())
    (other,) = augment((images(),), ["flip", "crop"], generator(1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    assert first.is_contiguous()


def test_the_images_of_one_sample_move_together_and_other_inputs_stay():
    ids = torch.arange(3)[:, None]
    left, right, same = augment((images(), images(), ids), ["crop", "flip"], generator())
    assert torch.equal(left, right)
    assert torch.equal(same, ids)


def test_nothing_is_drawn_when_nothing_is_asked():
    (same,) = augment((images(),), [], generator())
    assert torch.equal(same, images())
