"""Any selection, on any structure, leaves a network that computes what the masked dense one computes."""

import numpy as np
import pytest

from tests.worker.networks import NETWORKS
from worker.graph.check import check_cut, self_check
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.training.weights import copy_network


def draw(structure: Structure, share: float, seed: int) -> Selection:
    """A random selection that leaves no slot empty, and no block out."""
    selection = np.random.default_rng(seed).random(structure.component_count + 1) > share
    selection[0] = True
    for slot in structure.slots:
        if len(slot.numbers) and not selection[slot.numbers].any():
            selection[slot.numbers[0]] = True
    return selection


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_equals_masked_dense_and_costs_what_was_predicted(name: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    for seed, share in enumerate((0.3, 0.6)):
        selection = draw(structure, share, seed)
        pruned = remove(network, structure, selection)
        inputs = example_inputs(network, batch=3, seed=seed)
        assert self_check(network, pruned, structure, selection, inputs) < 1e-5
        assert (pruned(*inputs)[0] - network(*inputs)[0]).abs().max() > 1e-3, "a vacuous draw"
        predicted = structure.cost(selection)
        assert pruned.parameter_count() == predicted.params < network.parameter_count()
        again = analyze(pruned, example_inputs(pruned))
        assert again.cost(again.everything()).macs == pytest.approx(predicted.macs, rel=1e-12)


@pytest.mark.parametrize("name", ["padded-resnet", "grouped-resnet", "shufflenet", "attention", "group-norm"])
def test_cutting_in_two_steps_equals_cutting_at_once(name: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    final = draw(structure, 0.5, 0)
    halfway = final | (np.random.default_rng(1).random(len(final)) > 0.5)
    once = remove(network, structure, final)
    twice = remove(remove(network, structure, halfway), structure, final, since=halfway)
    inputs = example_inputs(network, batch=2)
    assert not np.array_equal(halfway, final)
    assert (once(*inputs)[0] == twice(*inputs)[0]).all()


@pytest.mark.parametrize("name", ["padded-resnet", "shufflenet", "attention"])
def test_giving_up_what_is_cut_leaves_the_same_network(name: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    selection = draw(structure, 0.5, 0)
    kept, given = remove(network, structure, selection), copy_network(network)
    consumed = remove(given, structure, selection, consume=True)
    wanted, found = kept.module.state_dict(), consumed.module.state_dict()
    assert list(found) == list(wanted)
    assert all((found[name] == wanted[name]).all() for name in wanted)
    assert str(consumed.module.graph) == str(kept.module.graph)
    assert not given.module.state_dict()


@pytest.mark.parametrize("name", ["padded-resnet", "shufflenet", "attention", "group-norm"])
def test_check_of_a_cut_that_is_not_made_finds_what_the_check_of_two_networks_finds(name: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    selection, inputs = draw(structure, 0.5, 0), example_inputs(network, batch=2)
    pruned = remove(network, structure, selection)
    assert check_cut(network, structure, selection, inputs) == self_check(network, pruned, structure, selection, inputs)


def test_the_given_network_is_left_alone() -> None:
    network = NETWORKS["padded-resnet"]()
    inputs = example_inputs(network, batch=2)
    before = network(*inputs)[0]
    structure = analyze(network, example_inputs(network))
    pruned = remove(network, structure, draw(structure, 0.5, 0))
    for _, parameter in pruned.parameters():
        parameter.data.zero_()
    assert (network(*inputs)[0] == before).all()


def test_keeping_everything_copies_the_network() -> None:
    network = NETWORKS["mlp"]()
    structure = analyze(network, example_inputs(network))
    copy = remove(network, structure, structure.everything())
    inputs = example_inputs(network, batch=2)
    assert (copy(*inputs)[0] == network(*inputs)[0]).all()
    next(parameter for _, parameter in copy.parameters()).data.zero_()
    assert (copy(*inputs)[0] != network(*inputs)[0]).any()


def test_a_wrong_cut_is_found_by_the_self_check() -> None:
    network = NETWORKS["conv-resnet"]()
    structure = analyze(network, example_inputs(network))
    selection = draw(structure, 0.4, 0)
    pruned = remove(network, structure, selection)
    weight = dict(pruned.parameters())["stages.1.a.0.weight"]
    weight.data.copy_(weight.data.roll(1, 1))
    assert self_check(network, pruned, structure, selection, example_inputs(network, 2)) > 1e-3


def test_cost_agrees_with_the_sum_over_layers() -> None:
    network = NETWORKS["efficientnet"]()
    structure = analyze(network, example_inputs(network))
    selection = draw(structure, 0.5, 3)
    assert sum(layer.macs for layer in structure.layer_costs(selection)) == structure.cost(selection).macs
    assert [layer.params for layer in structure.layer_costs(structure.everything())] == [
        layer.parameters for layer in structure.layers
    ]
