import numpy as np
import pytest
import torch
from PIL import Image

from service.contract.recipe import Input
from tests.worker.data.datasets import dataset
from worker.data.transform import InputTransform
from worker.errors import MismatchedDataset
from worker.graph.network import TensorSpec

RGB32 = TensorSpec("x", ("batch", 3, 32, 32), torch.float32)


def transformed(declared: Input, data, *specs: TensorSpec) -> tuple[Input, tuple[torch.Tensor, ...]]:
    transform = InputTransform.build(declared, data, specs)
    return transform.resolved, transform(data, np.arange(len(data)))


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


def test_bytes_in_nhwc_become_normalised_contiguous_nchw(photos):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    resolved, (tensor,) = transformed(Input(mean=mean, std=std), dataset(x=photos), RGB32)
    by_hand = ((photos / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(tensor.numpy(), by_hand, atol=1e-6)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert resolved == Input(layout="nhwc", scale=1 / 255, mean=mean, std=std)


def test_the_resolved_declaration_gives_the_same_samples(photos):
    resolved, (first,) = transformed(Input(mean=[0.5]), dataset(x=photos), RGB32)
    again, (second,) = transformed(resolved, dataset(x=photos), RGB32)
    assert again == resolved
    assert torch.equal(first, second)


def test_floats_in_nchw_pass_as_they_are():
    images = np.random.default_rng(0).random((2, 3, 32, 32))
    resolved, (tensor,) = transformed(Input(), dataset(x=images), RGB32)
    assert torch.equal(tensor, torch.from_numpy(images).float())
    assert (resolved.layout, resolved.scale) == ("nchw", 1.0)


def test_grey_images_get_their_channel_axis():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    _, (tensor,) = transformed(Input(), dataset(image=images), TensorSpec("x", ("batch", 1, 8, 8), torch.float32))
    np.testing.assert_allclose(tensor.numpy(), images[:, None] / 255, atol=1e-7)


def test_a_model_with_free_sizes_takes_images_of_any_size(photos):
    free = TensorSpec("x", ("batch", 3, "height", "width"), torch.float32)
    resolved, (tensor,) = transformed(Input(), dataset(x=photos), free)
    assert resolved.layout == "nhwc"
    assert tensor.shape == (4, 3, 32, 32)


def test_resizing_is_pillows_antialiased_bilinear(photos):
    small = TensorSpec("x", ("batch", 3, 11, 20), torch.float32)
    _, (tensor,) = transformed(Input(resize=[11, 20]), dataset(x=photos), small)
    for sample, image in zip(tensor, photos, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[..., channel].astype(np.float32))
            expected = np.asarray(plane.resize((20, 11), Image.Resampling.BILINEAR)) / 255
            np.testing.assert_allclose(sample[channel].numpy(), expected, atol=1e-5)


def test_a_model_that_takes_bytes_gets_bytes(photos):
    _, (tensor,) = transformed(Input(), dataset(x=photos), TensorSpec("x", ("batch", 3, 32, 32), torch.uint8))
    assert tensor.dtype == torch.uint8
    assert torch.equal(tensor, torch.from_numpy(photos).permute(0, 3, 1, 2))


def test_feature_vectors_are_cast_and_scaled_only_when_asked():
    features = np.arange(6, dtype=np.uint8).reshape(2, 3)
    spec = TensorSpec("features", ("batch", 3), torch.float32)
    _, (plain,) = transformed(Input(), dataset(x=features), spec)
    assert plain.tolist() == features.tolist()
    resolved, (scaled,) = transformed(Input(scale=2.0, mean=[0, 1, 2], std=[1, 1, 4]), dataset(x=features), spec)
    np.testing.assert_allclose(scaled.numpy(), (features * 2.0 - [0, 1, 2]) / [1, 1, 4])
    assert resolved.scale == 2.0


def test_token_ids_stay_whole_numbers_beside_an_image(photos):
    ids = np.arange(20, dtype=np.uint16).reshape(4, 5)
    specs = (RGB32, TensorSpec("ids", ("batch", 5), torch.int64))
    _, (image, tokens) = transformed(Input(mean=[0.5, 0.5, 0.5]), dataset(ids=ids, x=photos), *specs)
    assert image.shape == (4, 3, 32, 32)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == ids.tolist()


def test_arrays_in_another_byte_order_are_read():
    images = np.random.default_rng(0).random((2, 3, 32, 32)).astype(">f4")
    _, (tensor,) = transformed(Input(), dataset(x=images), RGB32)
    np.testing.assert_array_equal(tensor.numpy(), images.astype("<f4"))


def test_the_dataset_is_not_changed(photos):
    images = np.ones((2, 3, 32, 32), np.float32)
    transformed(Input(mean=[0.5]), dataset(x=images), RGB32)
    assert (images == 1).all()


def test_samples_that_do_not_fit_are_refused_with_both_shapes_and_the_way_out():
    with pytest.raises(MismatchedDataset, match=r'\(N, 28, 28, 3\).*\(batch, 3, 32, 32\).*"resize": \[32, 32\]'):
        InputTransform.build(Input(), dataset(x=np.zeros((5, 28, 28, 3), np.uint8)), (RGB32,))


def test_arrays_that_the_model_does_not_ask_for_are_not_read(photos):
    _, tensors = transformed(Input(), dataset(x=photos, extra=np.zeros((4, 2))), RGB32)
    assert [tuple(tensor.shape) for tensor in tensors] == [(4, 3, 32, 32)]


def test_two_images_are_each_read_in_their_own_layout(photos):
    specs = (RGB32, TensorSpec("y", ("batch", 3, 32, 32), torch.float32))
    data = dataset(x=photos, y=np.ascontiguousarray(photos.transpose(0, 3, 1, 2)))
    _, (first, second) = transformed(Input(), data, *specs)
    assert torch.equal(first, second)


@pytest.mark.parametrize(("ids", "says"), [([0, 49, 50], "from 0 to 50"), ([-1, 3, 4], "from -1 to 4")])
def test_ids_that_are_in_no_row_of_the_table_are_refused_with_their_range(ids, says):
    tokens = TensorSpec("tokens", ("batch",), torch.int64, table_rows=50)
    with pytest.raises(MismatchedDataset, match=f"{says} .* a table of 50 rows"):
        InputTransform.build(Input(), dataset(tokens=np.array(ids)), (tokens,))
    InputTransform.build(Input(), dataset(tokens=np.array([0, 49])), (tokens,))
