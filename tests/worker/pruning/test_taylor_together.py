"""Channels of a group are judged by what the loss loses when they go together."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.contract.recipe import Prune
from tests.worker.networks import traced
from tests.worker.pruning.samples import TensorSamples
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.pruning.criteria import CRITERIA, taylor
from worker.pruning.scoring import Scene, Scores

CLASSES, HIDDEN, SAMPLES = 4, 8, 24


def two_layers(seed: int = 0) -> tuple[Network, nn.Sequential]:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(6, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    return traced(module, 6), module


def samples_of(network: Network, count: int = SAMPLES) -> TensorSamples:
    generator = torch.Generator().manual_seed(3)
    return TensorSamples(example_inputs(network, count)[0], torch.randint(0, CLASSES, (count,), generator=generator))


def scores_of(network: Network, samples: TensorSamples, **prune: object) -> Scores:
    structure = analyze(network, example_inputs(network))
    recipe = Prune.model_validate({"granularity": ["neuron"], "criterion": "taylor", **prune})
    return CRITERIA["taylor"].score(
        Scene(network, network, structure, structure.everything(), samples, "classification", recipe, 0)
    )


def changes_of(module: nn.Sequential, samples: TensorSamples) -> Tensor:
    """(samples, hidden): a · ∂L/∂a, from the module itself."""
    hidden = module[1](module[0](samples.inputs)).detach().requires_grad_()
    nn.functional.cross_entropy(module[2](hidden), samples.labels, reduction="sum").backward()
    assert hidden.grad is not None
    return (hidden * hidden.grad).detach().double()


def test_the_first_to_go_costs_what_it_costs_alone() -> None:
    network, module = two_layers()
    alone = changes_of(module, samples_of(network)).square().mean(0).numpy()
    found = scores_of(network, samples_of(network))[1:]
    assert np.argmin(found) == np.argmin(alone)
    np.testing.assert_allclose(found.min(), alone.min(), rtol=1e-4)


def test_the_order_is_that_of_the_single_costs() -> None:
    for seed in range(5):
        network, module = two_layers(seed)
        alone = changes_of(module, samples_of(network)).square().mean(0).numpy()
        found = scores_of(network, samples_of(network))[1:]
        assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(alone, kind="stable"))


def test_sums_of_scores_are_the_costs_of_going_together_where_these_rise_ever_faster() -> None:
    checked = 0
    for seed in range(8):
        network, module = two_layers(seed)
        changes = changes_of(module, samples_of(network))
        order = changes.square().mean(0).argsort()
        costs = changes[:, order].cumsum(1).square().mean(0)
        steps = torch.cat([costs[:1], costs.diff()])
        convex = 1 + int((steps.diff() >= 0).cumprod(0).sum())
        found = np.cumsum(np.sort(scores_of(network, samples_of(network))[1:]))
        np.testing.assert_allclose(found[:convex], costs[:convex].numpy(), rtol=1e-4)
        checked += convex
    assert checked > 16


def test_two_equal_channels_cost_four_times_what_one_costs() -> None:
    network, _ = two_layers()
    weights = dict(network.parameters())
    with torch.no_grad():
        for name in ("0.weight", "0.bias"):
            weights[name].data[1] = weights[name].data[0]
        weights["2.weight"].data[:, 1] = weights["2.weight"].data[:, 0]
        weights["2.weight"].data[:, 2:] *= 50  # the others go last
    scores = scores_of(network, samples_of(network))[1:]
    assert set(np.argsort(scores)[:2]) == {0, 1}
    np.testing.assert_allclose(scores[:2].sum(), 4 * scores[:2].min(), rtol=1e-4)


def test_samples_beyond_the_memory_still_count_for_what_a_channel_costs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = two_layers()
    many = samples_of(network, 300)
    with_all = scores_of(network, many)[1:]
    monkeypatch.setattr(taylor, "_MOST_CHANGES", 1)  # one batch is always remembered
    with_some = scores_of(network, many)[1:]
    assert np.array_equal(np.argsort(with_some), np.argsort(with_all))
    assert not np.allclose(with_some, with_all, rtol=1e-6)
    np.testing.assert_allclose(with_some, with_all, rtol=0.5)


def test_balance_by_class_also_judges_what_goes_together() -> None:
    network, _ = two_layers()
    plain, by_class = (scores_of(network, samples_of(network), balance=name)[1:] for name in ("none", "class"))
    assert (by_class > 0).all()
    assert not np.allclose(plain, by_class)
