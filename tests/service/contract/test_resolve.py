"""A recipe of only a target becomes complete; a recipe that cannot work is refused before it is queued."""

from typing import Any

import pytest

from service.contract.methods import methods
from service.contract.plan import plan
from service.contract.prunable import BlockedOp
from service.contract.recipe import Recipe
from service.contract.resolve import Unresolvable, resolve
from service.contract.resources import (
    ArrayInfo,
    DatasetProfile,
    LayerInfo,
    ModelProfile,
    Prunable,
    PrunableGroup,
    Reach,
    TensorInfo,
)


def model(**changes: Any) -> ModelProfile:
    profile = ModelProfile(
        format="pt2",
        inputs=[TensorInfo(name="x", shape=["batch", 3, 32, 32], dtype="float32")],
        outputs=[TensorInfo(name="logits", shape=["batch", 10], dtype="float32")],
        parameters=1000,
        macs=10_000,
        layers=[
            LayerInfo(name=name, op="conv2d", shape=[16, 16, 3, 3], parameters=500, macs=5000, prunable=16)
            for name in ("layer1.conv1", "layer1.conv2")
        ],
        prunable=Prunable(
            components=32,
            groups=[PrunableGroup(id="g0", layers=["layer1.conv1"], channels=16)],
            reach=[Reach(keep=0.5, macs=0.4, params=0.6), Reach(keep=0.1, macs=0.05, params=0.2)],
            min_macs=0.05,
            min_params=0.2,
        ),
        blocked=[],
        normalization="batch_norm",
    )
    return profile.model_copy(update=changes)


def dataset(**changes: Any) -> DatasetProfile:
    profile = DatasetProfile(
        format="npz",
        arrays=[ArrayInfo(name="x", shape=[100, 32, 32, 3], dtype="uint8")],
        samples=100,
        labels="class",
        classes=10,
        class_names=None,
        label_range=[0, 9],
        splits={"train": 80, "test": 20},
    )
    return profile.model_copy(update=changes)


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"target": {"macs": 0.5}, **sections})


def refusal(asked: Recipe, on: ModelProfile | None = None, data: DatasetProfile | None = None) -> Unresolvable:
    with pytest.raises(Unresolvable) as caught:
        resolve(asked, on or model(), data)
    return caught.value


def test_a_target_alone_becomes_a_complete_recipe() -> None:
    resolved = resolve(recipe(), model(), dataset())
    assert resolved.recipe.input.layout == "nhwc"
    assert resolved.recipe.input.scale == pytest.approx(1 / 255)
    assert resolved.recipe.prune.criterion == "taylor"
    assert resolved.recipe.finetune.learning_rate == 0.01
    assert resolved.recipe.finetune.loss == "cross_entropy"
    assert [warning.code for warning in resolved.warnings] == ["input-scale-assumed"]


def test_a_resolved_recipe_resolves_to_itself() -> None:
    for data in (dataset(), None):
        once = resolve(recipe(), model(), data).recipe
        again = resolve(Recipe.model_validate_json(once.model_dump_json()), model(), data).recipe
        assert again == once


@pytest.mark.parametrize(
    ("blocked", "way"),
    [
        ([], "ask for sparsity"),
        ([BlockedOp(op="aten.cumsum.default", layers=["a"], why="it needs all entries")], "see `blocked`"),
    ],
)
def test_a_model_without_units_is_refused_with_what_can_be_done(blocked: list[BlockedOp], way: str) -> None:
    bare = model(prunable=Prunable(components=0, groups=[], reach=[], min_macs=1, min_params=1), blocked=blocked)
    assert way in refusal(recipe(), bare).errors[0].detail


def test_without_data_the_weights_decide_and_nothing_is_trained() -> None:
    resolved = resolve(recipe(), model(), None).recipe
    assert resolved.prune.criterion == "magnitude"
    assert resolved.finetune.epochs == 0
    assert resolved.finetune.distill is None


@pytest.mark.parametrize(
    ("sections", "pointer"),
    [
        ({"prune": {"criterion": "taylor"}}, "#/recipe/prune/criterion"),
        ({"finetune": {"epochs": 2}}, "#/recipe/finetune/epochs"),
        ({"prune": {"protect": ["layer1.conv1", "no.such"]}}, "#/recipe/prune/protect/1"),
        ({"prune": {"layers": {"a/b~": {"min_keep": 1}}}}, "#/recipe/prune/layers/a~1b~0"),
        ({"target": {"macs": 0.01}}, "#/recipe/target/macs"),
        ({"target": {"macs": 0.5, "params": 0.1}}, "#/recipe/target/params"),
    ],
)
def test_what_cannot_work_is_refused_at_its_pointer(sections: dict[str, Any], pointer: str) -> None:
    assert [error.pointer for error in refusal(recipe(**sections)).errors] == [pointer]


def test_looser_rules_may_go_below_the_default_limit() -> None:
    assert resolve(recipe(target={"macs": 0.01}, prune={"round_to": 1, "min_keep": 0.01}), model(), None)


def test_a_dataset_of_the_wrong_shape_is_refused_naming_both_shapes() -> None:
    wrong = dataset(arrays=[ArrayInfo(name="x", shape=[100, 28, 28, 1], dtype="uint8")])
    error = refusal(recipe(), data=wrong)
    assert error.code == "dataset-mismatch"
    assert [found.pointer for found in error.errors] == ["#/dataset"]
    assert "(N, 28, 28, 1)" in error.errors[0].detail
    assert "(batch, 3, 32, 32)" in error.errors[0].detail


def test_a_mean_of_the_wrong_length_is_refused_at_its_pointer() -> None:
    error = refusal(recipe(input={"mean": [0.5, 0.5]}), data=dataset())
    assert error.code == "recipe-invalid"
    assert [found.pointer for found in error.errors] == ["#/recipe/input/mean"]


def test_features_need_no_scale_and_no_warning() -> None:
    flat = model(inputs=[TensorInfo(name="x", shape=["batch", 8], dtype="float32")])
    resolved = resolve(recipe(), flat, dataset(arrays=[ArrayInfo(name="x", shape=[100, 8], dtype="uint8")]))
    assert resolved.recipe.input.scale == 1.0
    assert resolved.warnings == []


def test_resize_makes_another_size_fit_but_not_another_number_of_channels() -> None:
    colour = dataset(arrays=[ArrayInfo(name="x", shape=[100, 64, 64, 3], dtype="uint8")])
    assert resolve(recipe(input={"resize": [32, 32]}), model(), colour).recipe.input.layout == "nhwc"
    grey = dataset(arrays=[ArrayInfo(name="x", shape=[100, 64, 64], dtype="uint8")])
    assert refusal(recipe(input={"resize": [32, 32]}), data=grey).code == "dataset-mismatch"


def test_a_label_beyond_the_outputs_is_refused_naming_both() -> None:
    error = refusal(recipe(), data=dataset(label_range=[0, 10]))
    assert error.code == "dataset-mismatch"
    assert "label 10" in error.errors[0].detail
    assert "10 classes" in error.errors[0].detail
    wide = model(outputs=[TensorInfo(name="mask", shape=["batch", 10, 32, 32], dtype="float32")])
    assert "(batch, classes)" in refusal(recipe(), wide, dataset()).errors[0].detail


def test_unlabelled_data_can_be_distilled_but_not_trained_on() -> None:
    unlabelled = dataset(labels="none", classes=None, label_range=None)
    assert resolve(recipe(), model(), unlabelled).recipe.finetune.loss is None
    assert refusal(recipe(finetune={"distill": None}), data=unlabelled).errors[0].pointer == "#/recipe/finetune/distill"


def test_batchnorm_needs_batch_norm() -> None:
    folded = model(normalization="folded_or_none")
    for data in (dataset(), None):
        error = refusal(recipe(prune={"criterion": "batchnorm"}), folded, data)
        assert error.errors[0].pointer == "#/recipe/prune/criterion"


def test_the_plan_interpolates_the_reach_table() -> None:
    asked = resolve(recipe(target={"macs": 0.7}), model(), dataset()).recipe
    made = plan(asked, model(), dataset(), [])
    assert made.estimate.macs_ratio == pytest.approx(0.7)
    assert made.estimate.params_ratio == pytest.approx(0.8)
    assert made.evidence_tier == 2


def test_the_catalogue_names_every_criterion_of_the_recipe() -> None:
    catalogue = methods()
    allowed = catalogue.recipe_schema["$defs"]["Prune"]["properties"]["criterion"]["anyOf"][0]["enum"]
    assert sorted(criterion.name for criterion in catalogue.criteria) == sorted(allowed)
