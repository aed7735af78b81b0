import numpy as np
import torch
from torch import nn

from service.contract.recipe import Input
from tests.worker.data.datasets import dataset
from tests.worker.digits import digits_samples, exported, trained_digits
from tests.worker.photos import photo_samples, resnet20
from worker.data.invariance import agreement, choose_augmentation
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform


def test_digits_are_not_flipped():
    flipped = agreement(trained_digits(), digits_samples("calibration"), "flip")
    assert flipped.overall < 0.6
    assert "flip" not in choose_augmentation(trained_digits(), digits_samples("calibration"))


def test_photos_are_flipped_and_shifted(shared_data):
    network = resnet20(shared_data)
    assert choose_augmentation(network, photo_samples(shared_data, network, every=5)) == ["flip", "crop"]


class MeanColour(nn.Module):
    """Answers by the mean colour: nothing that a flip changes."""

    def forward(self, x):
        return x.mean((2, 3))


class Turns(nn.Module):
    """18 classes by mean brightness, and two more by the side on which a bright image is brighter."""

    def forward(self, x):
        brightness = x.mean((1, 2, 3))[:, None]
        left, right = x[..., :4].mean((1, 2, 3))[:, None], x[..., 4:].mean((1, 2, 3))[:, None]
        levels = -(brightness - torch.linspace(0, 0.9, 18)).abs()
        return torch.cat([levels, 2 * torch.cat([left, right], 1) - 3], 1)


def samples_of(images: np.ndarray, network, task="unlabelled", labels=None) -> SplitSamples:
    data = dataset(x=images, labels=labels)
    return SplitSamples(data, np.arange(len(data)), InputTransform.build(Input(), data, network.inputs), task)


def test_what_a_flip_does_not_change_survives_it():
    network = exported(MeanColour(), torch.randn(2, 3, 8, 8))
    images = np.random.default_rng(0).random((64, 3, 8, 8)).astype(np.float32)
    assert agreement(network, samples_of(images, network), "flip").overall == 1.0


def test_one_class_that_flips_destroy_is_enough_to_leave_them_out():
    network = exported(Turns(), torch.randn(2, 1, 8, 8))
    brightness = np.repeat(np.linspace(0, 0.9, 18), 10)
    even = np.ones((180, 1, 8, 8)) * brightness[:, None, None, None]
    to_the_left = np.concatenate([np.full((10, 1, 8, 4), 3.0), np.full((10, 1, 8, 4), 0.0)], axis=-1)
    samples = samples_of(np.concatenate([even, to_the_left]).astype(np.float32), network)
    found = agreement(network, samples, "flip")
    assert found.overall > 0.9
    assert found.worst_class == 0.0
    assert "flip" not in choose_augmentation(network, samples)


class LeftBrightness(nn.Module):
    """A real-valued answer that depends on the side."""

    def forward(self, x):
        return x[..., :2].mean((1, 2, 3))[:, None]


def test_real_answers_are_compared_by_explained_variance():
    network = exported(LeftBrightness(), torch.randn(2, 1, 8, 8))
    images = np.random.default_rng(0).random((64, 1, 8, 8)).astype(np.float32)
    samples = samples_of(images, network, "regression", labels=np.zeros(64))
    assert agreement(network, samples, "flip").overall < 0
    assert choose_augmentation(network, samples) == []


class Sum(nn.Module):
    def forward(self, x):
        return x * 2


def test_without_images_nothing_is_augmented():
    network = exported(Sum(), torch.randn(2, 5))
    assert choose_augmentation(network, samples_of(np.zeros((8, 5)), network)) == []
