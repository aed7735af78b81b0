"""Which array feeds which input, decided on shapes and dtypes alone."""

import pytest

from service.contract.fit import Misfit, fit
from service.contract.recipe import Input
from service.contract.resources import ArrayInfo, TensorInfo

RGB = TensorInfo(name="x", shape=["batch", 3, 32, 32], dtype="float32")
PHOTOS = ArrayInfo(name="x", shape=[100, 32, 32, 3], dtype="uint8")


def array(name: str, *sample: int, dtype: str = "float32") -> ArrayInfo:
    return ArrayInfo(name=name, shape=[100, *sample], dtype=dtype)


def tensor(name: str, *sample: int | str, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name=name, shape=["batch", *sample], dtype=dtype)


def refusal(declared: Input, arrays: list[ArrayInfo], inputs: list[TensorInfo]) -> Misfit:
    with pytest.raises(Misfit) as caught:
        fit(declared, arrays, inputs)
    return caught.value


def test_a_single_array_feeds_a_single_input_of_any_name() -> None:
    (feed,) = fit(Input(), [array("pixels", 3, 32, 32)], [RGB]).feeds
    assert (feed.array.name, feed.tensor.name) == ("pixels", "x")


def test_arrays_that_the_model_does_not_ask_for_are_left_out() -> None:
    found = fit(Input(), [array("weight", 1), PHOTOS], [RGB])
    assert [feed.array.name for feed in found.feeds] == ["x"]


def test_an_input_that_no_array_is_named_after_is_refused_naming_all() -> None:
    said = refusal(Input(), [array("a", 4), array("b", 4)], [tensor("a", 4), tensor("c", 4)])
    assert said.detail == (
        "the model's inputs are `a`, `c` and the dataset's arrays are `a`, `b`: nothing feeds `c`; "
        "name one array after each input"
    )


@pytest.mark.parametrize(
    ("photos", "model", "layout", "scale"),
    [
        (PHOTOS, RGB, "nhwc", 1 / 255),
        (array("x", 3, 32, 32), RGB, "nchw", 1.0),
        (array("x", 32, 32, dtype="uint8"), tensor("x", 1, 32, 32), "nchw", 1 / 255),
        (array("x", 3, 3, 3, dtype="uint8"), tensor("x", 3, 3, 3), "nchw", 1 / 255),
        (PHOTOS, tensor("x", 3, "height", "width"), "nhwc", 1 / 255),
        (PHOTOS, tensor("x", 3, 32, 32, dtype="uint8"), "nhwc", 1.0),
    ],
    ids=["bytes last", "reals first", "grey", "either order", "free sizes", "a model of bytes"],
)
def test_the_layout_is_the_one_that_fits_and_bytes_that_become_real_are_scaled(
    photos: ArrayInfo, model: TensorInfo, layout: str, scale: float
) -> None:
    found = fit(Input(), [photos], [model])
    assert found.input == Input(layout=layout, scale=scale, mean=[0.0], std=[1.0])
    assert fit(found.input, [photos], [model]) == found


def test_features_are_declared_in_full_too() -> None:
    found = fit(Input(mean=[1, 2, 3, 4]), [array("x", 4, dtype="uint8")], [tensor("x", 4)])
    assert found.input == Input(scale=1.0, mean=[1, 2, 3, 4], std=[1.0])


def test_beside_an_image_the_declaration_is_for_the_image() -> None:
    found = fit(Input(mean=[0.5, 0.5, 0.5]), [PHOTOS, array("age", 2)], [RGB, tensor("age", 2)])
    assert [feed.input.mean for feed in found.feeds] == [[0.5, 0.5, 0.5], [0.0]]


def test_what_two_images_need_differently_stays_open() -> None:
    arrays, inputs = [PHOTOS, array("y", 3, 32, 32)], [RGB, tensor("y", 3, 32, 32)]
    found = fit(Input(), arrays, inputs)
    assert found.input == Input(mean=[0.0], std=[1.0])
    assert [(feed.input.layout, feed.input.scale) for feed in found.feeds] == [("nhwc", 1 / 255), ("nchw", 1.0)]
    assert fit(found.input, arrays, inputs) == found


@pytest.mark.parametrize(
    ("declared", "photos", "says"),
    [
        (Input(), array("x", 28, 28, 3), ["(N, 28, 28, 3)", "(batch, 3, 32, 32)", '"resize": [32, 32]']),
        (Input(layout="nchw"), PHOTOS, ["input.layout `nchw`", '"layout": "nhwc"']),
        (Input(resize=[16, 16]), PHOTOS, ["input.resize [16, 16]", '"resize": [32, 32]']),
        (Input(), array("x", 32, 32), ["(N, 32, 32)", "3 channels"]),
        (Input(), array("x", 32, 32, 4), ["3 channels"]),
        (Input(), array("x", 3072), ["(N, 3072)", "(batch, 3, 32, 32)", "(N, height, width, channels)"]),
        (Input(), array("x", 32, 32, 3, dtype="complex64"), ["complex64", "numbers"]),
    ],
)
def test_images_that_do_not_fit_are_refused_with_both_shapes_and_the_way_out(
    declared: Input, photos: ArrayInfo, says: list[str]
) -> None:
    said = refusal(declared, [photos], [RGB])
    assert said.field is None
    assert all(part in said.detail for part in says), said.detail


@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_mean_or_std_of_another_length_is_refused_at_its_field(field: str) -> None:
    said = refusal(Input(**{field: [0.5, 0.5]}), [PHOTOS], [RGB])
    assert (said.field, "3 channels" in said.detail) == (field, True)
    assert refusal(Input(**{field: [1, 1]}), [array("x", 3)], [tensor("x", 3)]).field == field


def test_features_fit_as_they_are_or_not_at_all() -> None:
    assert "(N, 8, 8)" in refusal(Input(), [array("x", 8, 8)], [tensor("x", 64)]).detail


def test_fractions_are_no_token_ids() -> None:
    assert "upload integers" in refusal(Input(), [array("x", 4)], [tensor("ids", 4, dtype="int64")]).detail
