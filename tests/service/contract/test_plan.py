"""What is answered before work: how far a model can be pruned, and what a recipe would leave of it."""

from typing import Any

import pytest

from service.contract.plan import plan
from service.contract.reach import reach_for, reach_of
from service.contract.recipe import Prune, Recipe
from service.contract.resolve import Unresolvable, resolve
from service.contract.resources import (
    DatasetProfile,
    GranularityReach,
    Plan,
    PrunableBlock,
    Reach,
    SparseReach,
)
from tests.service.examples import DATASET_PROFILE, MODEL_PROFILE


def points(macs: float, size: int) -> list[Reach]:
    """A curve with its middle at half, in all that is measured."""
    middle = Reach(keep=0.5, macs=0.5 + macs / 2, params=0.5 + macs / 2, size_bytes=2000 + size // 2, memory_bytes=600)
    return [middle, Reach(keep=0.0, macs=macs, params=macs, size_bytes=size, memory_bytes=300)]


MODEL = MODEL_PROFILE.model_copy(
    update={
        "size_bytes": 4000,
        "memory_bytes": 900,
        "prunable": MODEL_PROFILE.prunable.model_copy(
            update={
                "blocks": [PrunableBlock(id="b1", name="block", layers=["a"], macs=1, params=1)],
                "by_granularity": [
                    GranularityReach(granularity=["channel"], units=16, reach=points(0.2, 800)),
                    GranularityReach(granularity=["layer"], units=1, reach=points(0.6, 2400)),
                    GranularityReach(granularity=["channel", "layer"], units=17, reach=points(0.1, 400)),
                ],
                "sparse": [SparseReach(granularity="n:m", layers=1, weights=432, most=0.5)],
            }
        ),
    }
)


def planned(
    target: dict[str, Any], prune: dict[str, Any] | None = None, data: DatasetProfile | None = DATASET_PROFILE
) -> Plan:
    asked = Recipe.model_validate({"target": target, "prune": prune or {}})
    resolved = resolve(asked, MODEL, data)
    return plan(resolved.recipe, MODEL, data, resolved.warnings)


@pytest.mark.parametrize(
    ("granularity", "macs", "size"),
    [
        (["channel"], 0.2, 800),
        (["layer"], 0.6, 2400),
        (["channel", "layer"], 0.1, 400),
        (["channel", "head", "neuron"], 0.2, 800),
        (["head"], 1.0, 4000),
        (["unstructured"], 1.0, 4000),
    ],
)
def test_the_least_that_is_reachable_depends_on_the_granularities(
    granularity: list[Any], macs: float, size: int
) -> None:
    found = reach_of(Prune(granularity=granularity), MODEL)
    assert found is not None
    assert (found["macs"], found["size_bytes"]) == (macs, size)


def test_rules_for_layers_widen_what_is_reachable() -> None:
    prune = Prune.model_validate({"granularity": "channel", "layers": {"conv": {"granularity": ["layer"]}}})
    assert reach_of(prune, MODEL) == {"macs": 0.1, "params": 0.1, "size_bytes": 400.0, "memory_bytes": 300.0}


@pytest.mark.parametrize(
    "rules",
    [{"min_keep": 0.05}, {"round_to": 4}, {"round_to": 9}, {"layers": {"conv": {"min_keep": 0.01}}}],
)
def test_nothing_is_known_of_looser_rules(rules: dict[str, Any]) -> None:
    assert reach_of(Prune.model_validate({"granularity": "channel", **rules}), MODEL) is None


def test_stricter_rules_reach_no_further() -> None:
    prune = Prune.model_validate({"granularity": "channel", "min_keep": 0.5, "round_to": 16, "protect": ["conv"]})
    assert reach_of(prune, MODEL) == reach_of(Prune(granularity=["channel"]), MODEL)


def test_an_older_profile_still_bounds_what_it_knows() -> None:
    assert reach_of(Prune(granularity=["channel"]), MODEL_PROFILE) == {"macs": 0.1, "params": 0.1}
    assert reach_of(Prune(granularity=["channel", "layer"]), MODEL_PROFILE) is None
    assert reach_for(("layer",), MODEL_PROFILE) is None


def test_the_estimate_is_where_the_tightest_target_is_met() -> None:
    one, both = planned({"macs": 0.6}), planned({"macs": 0.6, "params": 0.4})
    assert (one.estimate.macs_ratio, one.estimate.size_bytes) == (pytest.approx(0.6), 2400)
    assert both.estimate.macs_ratio == pytest.approx(0.4)
    assert both.estimate.size_bytes == 1600
    assert both.dense.size_bytes == 4000
    assert both.estimate.memory_bytes == 450


def test_every_target_has_its_estimate_and_its_limit() -> None:
    found = planned({"macs": 0.6, "params": 0.9})
    assert [(each.name, each.asked, each.limit) for each in found.targets] == [("macs", 0.6, 0.2), ("params", 0.9, 0.2)]
    assert [each.estimate for each in found.targets] == [pytest.approx(0.6), pytest.approx(0.6)]


def test_every_granularity_that_is_allowed_says_how_far_it_gets() -> None:
    found = planned({"macs": 0.6}, {"granularity": ["channel", "layer"]})
    assert [(each.granularity, each.units) for each in found.granularities] == [
        (["channel"], 16),
        (["layer"], 1),
        (["channel", "layer"], 17),
    ]
    assert [each.granularity for each in planned({"macs": 0.6}).granularities] == [["channel"]]


def test_zeros_leave_the_cost_and_bring_a_file() -> None:
    found = planned({"sparsity": 0.5}, {"granularity": "n:m"})
    assert (found.estimate.macs_ratio, found.estimate.size_bytes) == (1.0, 4000)
    assert [(each.name, each.estimate, each.limit) for each in found.targets] == [("sparsity", 0.5, 0.5)]
    assert set(found.artifacts) - set(planned({"macs": 0.6}).artifacts) == {"model.onnx.zst"}


def codes(found: Plan) -> list[str]:
    return [notice.code for notice in found.warnings]


def test_what_will_not_be_as_expected_is_said_beforehand() -> None:
    assert codes(planned({"macs": 0.6})) == []
    assert codes(planned({"macs": 0.6}, {"granularity": ["channel", "head"]})) == ["nothing-of-granularity"]
    unlabelled = DATASET_PROFILE.model_copy(update={"labels": "none", "classes": None})
    assert "no-labels-for-criterion" in codes(planned({"macs": 0.6}, data=unlabelled))
    assert "statistics-change" in codes(planned({"macs": 0.6}, {"granularity": ["channel", "embedding"]}))


def test_targets_in_bytes_have_estimates_and_limits() -> None:
    found = planned({"size_bytes": 2400, "memory_bytes": 700})
    # Memory of 700 is met further along the curve than a file of 2400.
    assert [(each.name, each.estimate, each.limit) for each in found.targets] == [
        ("size_bytes", pytest.approx(2400), 800.0),
        ("memory_bytes", pytest.approx(600), 300.0),
    ]
    assert found.estimate.size_bytes == 2400


def test_what_a_machine_decides_is_left_to_the_job() -> None:
    found = planned({"latency": 2.5, "speedup": 3.0})
    assert [(each.name, each.asked, each.estimate, each.limit) for each in found.targets] == [
        ("latency", 2.5, None, None),
        ("speedup", 3.0, None, None),
    ]


@pytest.mark.parametrize(
    ("target", "code", "pointer", "said"),
    [
        ({"memory_bytes": 299}, "target-unreachable", "memory_bytes", "299 is below 300"),
        ({"size_bytes": 700}, "target-unreachable", "size_bytes", "700 is below 800"),
        ({"memory_bytes": 900}, "recipe-invalid", "memory_bytes", "has 900 bytes already"),
        ({"size_bytes": 5000}, "recipe-invalid", "size_bytes", "has 4000 bytes already"),
    ],
)
def test_bytes_that_are_out_of_reach_or_there_already_are_refused(
    target: dict[str, Any], code: str, pointer: str, said: str
) -> None:
    with pytest.raises(Unresolvable) as caught:
        planned(target)
    assert caught.value.code == code
    assert [error.pointer for error in caught.value.errors] == [f"#/recipe/target/{pointer}"]
    assert said in caught.value.errors[0].detail


def test_a_file_a_little_below_the_estimated_limit_is_left_to_the_job() -> None:
    assert planned({"size_bytes": 750}).targets[0].limit == 800


@pytest.mark.parametrize("name", ["size_bytes", "memory_bytes", "latency", "speedup"])
def test_zeros_do_not_change_bytes_of_files_or_times(name: str) -> None:
    with pytest.raises(Unresolvable) as caught:
        planned({name: 500}, {"granularity": "unstructured"})
    assert "#/recipe/prune/granularity" in [error.pointer for error in caught.value.errors]
