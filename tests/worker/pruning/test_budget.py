"""Meeting a target from the safe side, in blocks."""

import numpy as np
import pytest

from service.contract.recipe import LayerRule, Prune, Target
from tests.worker.networks import NETWORKS
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.pruning.allocation import limits_of
from worker.pruning.block_prices import ByShare, ByValue, Pricing, sums_of
from worker.pruning.budget import Bound, Budget, fit, uniform
from worker.pruning.measures import Summed

WARNED: list[tuple[str, str]] = []


def structure_of(name: str) -> Structure:
    network = NETWORKS[name]()
    return analyze(network, example_inputs(network))


def budget_of(structure: Structure, target: Target) -> Budget:
    bounds, whole = [], structure.kept_channels(structure.everything())
    for name, share in target.asked.items():
        measure = Summed(structure.model, ((1.0, getattr(structure.model, name)),))
        dense = float(measure.of(whole))
        bounds.append(Bound(measure, dense, share * dense))
    return Budget(tuple(bounds))


def choose(structure: Structure, prune: Prune, target: Target, seed: int = 0) -> Selection | None:
    scores = np.random.default_rng(seed).random(structure.component_count + 1)
    limits = limits_of(structure, prune, lambda code, detail: WARNED.append((code, detail)))
    whole = structure.everything()
    by_score = ByValue(sums_of(structure, whole, scores), per_cost=True)
    by_share = ByShare(np.array([group.channels for group in structure.groups], dtype=np.float64))
    pricing: Pricing = by_share if prune.allocation == "uniform" else by_score
    return fit(structure, limits, scores, budget_of(structure, target), whole, pricing)


def kept(structure: Structure, selection: Selection) -> dict[str, int]:
    costs = structure.layer_costs(selection)
    return {layer.name: cost.channels for layer, cost in zip(structure.layers, costs, strict=True)}


@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize(
    "name", ["padded-resnet", "conv-resnet", "grouped-resnet", "efficientnet", "densenet", "shufflenet", "vgg"]
)
def test_the_target_is_met_from_the_safe_side_with_counts_in_blocks_of_eight(name: str, allocation: str) -> None:
    structure = structure_of(name)
    selection = choose(structure, Prune.model_validate({"allocation": allocation}), Target(macs=0.6))
    assert selection is not None
    ratio = structure.cost(selection).macs / structure.cost(structure.everything()).macs
    assert 0.5 < ratio <= 0.6
    for layer in structure.layers:
        if layer.prunable:
            assert kept(structure, selection)[layer.name] % 8 == 0, layer.name


def test_a_removed_block_comes_back_when_it_fits() -> None:
    structure = structure_of("conv-resnet")
    dense = structure.cost(structure.everything()).macs
    selection = choose(structure, Prune(), Target(macs=0.5))
    assert selection is not None
    for group in structure.groups:
        gone = group.components[~selection[group.components]]
        if len(gone) >= 8:
            more = selection.copy()
            more[gone[:8]] = True
            assert structure.cost(more).macs > 0.5 * dense


def test_two_targets_are_both_met() -> None:
    structure = structure_of("conv-resnet")
    selection = choose(structure, Prune(), Target(macs=0.7, params=0.4))
    assert selection is not None
    dense, left = structure.cost(structure.everything()), structure.cost(selection)
    assert left.macs <= 0.7 * dense.macs
    assert left.params <= 0.4 * dense.params


def test_round_to_one_allows_any_count() -> None:
    structure = structure_of("padded-resnet")
    selection = choose(structure, Prune(round_to=1), Target(macs=0.5))
    assert selection is not None
    assert structure.cost(selection).macs / structure.cost(structure.everything()).macs > 0.495
    assert any(count % 8 for name, count in kept(structure, selection).items() if name != "linear")


def test_uniform_allocation_takes_the_same_share_everywhere() -> None:
    structure = structure_of("conv-resnet")
    selection = choose(structure, Prune(allocation="uniform", round_to=1), Target(macs=0.5))
    assert selection is not None
    channels = [group.channels for group in structure.groups if group.role != "layer"]
    shares = structure.kept_channels(selection)[: len(channels)] / channels
    # A block is a sixteenth of the narrowest group, and what is left of the budget goes to a cheap one.
    assert shares.max() - shares.min() < 0.1


def test_protected_layers_and_minima_hold() -> None:
    structure = structure_of("conv-resnet")
    prune = Prune(protect=["stages.0.*"], layers={"stages.*.b.0": LayerRule(min_keep=0.75)})
    selection = choose(structure, prune, Target(macs=0.6))
    assert selection is not None
    left = kept(structure, selection)
    for layer in structure.layers:
        if layer.name.startswith("stages.0."):
            assert left[layer.name] == layer.channels
        elif layer.name.endswith(".b.0"):
            assert left[layer.name] >= 0.75 * layer.channels


def test_min_keep_bounds_every_layer() -> None:
    structure = structure_of("vgg")
    limits = limits_of(structure, Prune(min_keep=0.5), lambda code, detail: None)
    left = kept(structure, uniform(structure, limits, 0.0))
    assert left == {"features.0": 8, "features.4": 16, "classifier.0": 32, "classifier.3": 10}


def test_an_impossible_target_is_none() -> None:
    assert choose(structure_of("padded-resnet"), Prune(), Target(macs=0.01)) is None


def test_a_pattern_that_matches_nothing_is_named() -> None:
    WARNED.clear()
    choose(structure_of("vgg"), Prune(protect=["layer9.*"]), Target(macs=0.5))
    assert [code for code, _ in WARNED] == ["pattern-matches-nothing"]
    assert "'layer9.*'" in WARNED[0][1]


def test_a_count_that_is_no_multiple_is_rounded_only_where_it_is_pruned() -> None:
    structure = structure_of("mlp")
    selection = choose(structure, Prune(round_to=32), Target(params=0.7))
    assert selection is not None
    left = kept(structure, selection)
    assert left["net.0"] in (32, 64)
    assert left["net.3"] in (32, 48)
