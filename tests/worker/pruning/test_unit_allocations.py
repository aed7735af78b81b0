"""How much each group of units gives, on networks small enough to say beforehand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.contract.recipe import Prune, Schedule, Target
from tests.worker.networks import NETWORKS, traced
from tests.worker.pruning.samples import TensorSamples
from worker.errors import JobFailed
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.pruning.prune import Pruned, prune
from worker.reporter import Silent

ONE_STEP = Schedule(kind="one_shot")


class Warnings(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def warn(self, code: str, detail: str) -> None:
        self.seen.append((code, detail))


class Tower(nn.Module):
    """Three hidden layers of one width; `weak` scales what the second one adds."""

    def __init__(self, weak: float = 1.0, widths: tuple[int, int, int] = (64, 64, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.a, self.b, self.c = nn.Linear(16, first), nn.Linear(first, second), nn.Linear(second, third)
        self.head = nn.Linear(third, 5)
        with torch.no_grad():
            self.b.weight.mul_(weak)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))))


def made(module: Any = Tower, *shape: int, **options: Any) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return traced(module(**options), *(shape or (16,)))


def run(network: Network, target: Target, samples: bool = False, **recipe: Any) -> tuple[Pruned, Warnings]:
    heard = Warnings()
    settings = Prune.model_validate({"criterion": "magnitude", "round_to": 1, "schedule": ONE_STEP, **recipe})
    data = TensorSamples(example_inputs(network, 32)[0], torch.arange(32) % 5) if samples else None
    return prune(network, settings, target, data, "classification", 0, heard), heard


def kept(pruned: Pruned) -> dict[str, int]:
    return {layer.name: layer.channels_kept for layer in pruned.plan.layers}


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "isomorphic", "sensitivity"])
@pytest.mark.parametrize("name", ["padded-resnet", "efficientnet"])
def test_every_allocation_meets_the_target_exactly_and_in_steps(allocation: str, name: str) -> None:
    network = NETWORKS[name]()
    steps = Schedule(steps=2)
    pruned, _ = run(network, Target(macs=0.6), samples=True, allocation=allocation, schedule=steps, round_to=8)
    assert 0.4 < pruned.plan.macs_ratio <= 0.6
    assert pruned.self_check < 1e-5


def test_erk_leaves_small_layers_denser() -> None:
    """The density of a matrix n × m goes with (n + m) ÷ (n · m): 16 × 32 keeps 0.094, 32 × 128 0.039, 128 × 64 0.023
    parts each of the same whole."""
    pruned, _ = run(made(widths=(32, 128, 64)), Target(params=0.2), allocation="erk", compensate=False)
    left = kept(pruned)
    shares = {"a": left["a"] / 32, "b": left["b"] / 128, "c": left["c"] / 64}
    assert shares["b"] / shares["c"] == pytest.approx(0.0390625 / 0.0234375, rel=0.1)
    assert shares["a"] / shares["b"] == pytest.approx(0.09375 / 0.0390625, rel=0.1)


def test_lamp_says_how_many_and_the_criterion_says_which() -> None:
    """A layer whose weights are all a hundredth has the same layer-adaptive magnitudes, and gives no more for it."""
    before, _ = run(made(), Target(params=0.5), allocation="lamp", compensate=False)
    weak, _ = run(made(weak=0.01), Target(params=0.5), allocation="lamp", compensate=False)
    assert kept(before) == kept(weak)
    random, _ = run(made(), Target(params=0.5), allocation="lamp", criterion="random", compensate=False)
    assert kept(random) == kept(before)
    assert (random.selection != before.selection).any()


def test_kinds_of_groups_give_the_same_share_whatever_their_scores() -> None:
    """The inner channels of all blocks of a residual network are of one kind; streams of different length are not."""
    network = NETWORKS["conv-resnet"]()
    with torch.no_grad():
        for name, parameter in network.parameters():
            if ".b." in name:
                parameter.mul_(100.0)
    pruned, _ = run(network, Target(macs=0.5), allocation="isomorphic", normalization="none")
    structure = pruned.structure
    left = structure.kept_channels(pruned.selection)
    groups = [(group, count) for group, count in zip(structure.groups, left, strict=True) if group.role == "channel"]
    inner = [(group, count) for group, count in groups if len(group.layers) == 1]
    others = [(group, count) for group, count in groups if len(group.layers) > 1]
    assert inner
    assert others
    shares = [sum(count for _, count in part) / sum(group.channels for group, _ in part) for part in (inner, others)]
    assert shares[0] == pytest.approx(shares[1], abs=0.12)
    assert len({count / group.channels for group, count in inner}) > 1


def test_what_the_answers_do_not_need_goes_first() -> None:
    """The second layer hardly reads the first: all that the rules allow of that goes before the others give more."""
    pruned, heard = run(made(weak=1e-6), Target(params=0.5), samples=True, allocation="sensitivity", compensate=False)
    left = kept(pruned)
    assert left["a"] == 7  # a tenth of 64, rounded up
    assert min(left["b"], left["c"]) > 50
    assert [code for code, _ in heard.seen] == ["layers-at-their-floor"]
    assert heard.seen[0][1].startswith("a:")


def test_sensitivity_without_samples_says_so() -> None:
    with pytest.raises(JobFailed, match="needs a dataset"):
        run(made(), Target(params=0.5), allocation="sensitivity")


def test_without_a_guard_global_magnitude_takes_a_weak_layer_and_with_it_does_not() -> None:
    recipe = {"normalization": "none", "compensate": False, "allocation": "global"}
    weak = made(weak=1e-3)
    with torch.no_grad():
        dict(weak.parameters())["c.weight"].mul_(1e-3)
    bare, _ = run(weak, Target(params=0.17), min_keep=1e-6, **recipe)
    guarded, heard = run(weak, Target(params=0.17), **recipe)
    assert kept(bare)["b"] == 1
    assert kept(guarded)["b"] == 7
    assert [code for code, _ in heard.seen] == ["layers-at-their-floor"]
