"""Pruning from end to end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.contract.recipe import Prune, Schedule, Target
from tests.worker.networks import NETWORKS, traced
from tests.worker.pruning.samples import TensorSamples
from worker.errors import NothingRemoved, TargetUnreachable
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure
from worker.order import ChildLimits
from worker.pruning.plan import Plan, apply
from worker.pruning.prune import Pruned, Unfinished, prune
from worker.reporter import Silent
from worker.training.weights import weights_digest, weights_of


def run(network: Network, recipe: Prune, target: Target, samples: Any = None, **options: Any) -> Pruned:
    return prune(network, recipe, target, samples, "classification", 0, Silent(), **options)


def samples_of(network: Network, count: int = 32) -> TensorSamples:
    return TensorSamples(example_inputs(network, count)[0], torch.arange(count) % 10)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "random"])
def test_a_prune_meets_its_target_and_is_exact(criterion: str) -> None:
    network = NETWORKS["conv-resnet"]()
    pruned = run(network, Prune(criterion=criterion), Target(macs=0.5), samples_of(network))
    assert 0.45 <= pruned.plan.macs_ratio <= 0.5
    assert pruned.self_check < 1e-5
    assert pruned.plan.params == pruned.network.parameter_count()
    assert pruned.plan.complete
    assert len(pruned.plan.steps) == 4


def test_a_plan_rebuilds_the_same_network_after_a_round_trip_through_json() -> None:
    network = NETWORKS["padded-resnet"]()
    pruned = run(network, Prune(criterion="magnitude"), Target(macs=0.5))
    again = apply(network, Plan.model_validate_json(pruned.plan.model_dump_json()))
    inputs = example_inputs(network, 2)
    assert (again(*inputs)[0] == pruned.network(*inputs)[0]).all()


def test_resuming_after_a_step_ends_with_the_weights_of_the_whole_run() -> None:
    network = NETWORKS["conv-resnet"]()
    recipe, target, samples = Prune(criterion="taylor"), Target(macs=0.5), samples_of(NETWORKS["conv-resnet"]())
    reached: list[Unfinished] = []

    def remember(plan: Plan, so_far: Network) -> None:
        reached.append(Unfinished(plan, {name: weight.clone() for name, weight in weights_of(so_far).items()}))

    whole = run(network, recipe, target, samples, on_step=remember)
    assert [state.plan.complete for state in reached] == [False, False, False, True]
    for state in (reached[1], reached[3]):
        resumed = run(network, recipe, target, samples, resume=state)
        assert resumed.plan == whole.plan
        assert weights_digest(resumed.network) == weights_digest(whole.network)


def test_the_plan_counts_in_positions_of_the_dense_network() -> None:
    network = NETWORKS["vgg"]()
    pruned = run(network, Prune(criterion="magnitude"), Target(macs=0.5))
    dense = dict(network.parameters())
    left = dict(pruned.network.parameters())
    for layer in pruned.plan.layers:
        assert len(layer.kept) == layer.channels_kept
        bias = f"{layer.name}.bias"
        assert torch.equal(dense[bias][layer.kept], left[bias])


def test_what_happens_between_steps_is_what_the_next_step_sees() -> None:
    network = NETWORKS["conv-resnet"]()
    seen: list[int] = []

    def between(current: Network, step: int, structure: Structure, selection: Selection) -> Network:
        assert structure.cost(selection).params == current.parameter_count()
        assert step == len(seen)
        seen.append(current.parameter_count())
        return current

    run(network, Prune(criterion="magnitude", schedule=Schedule(steps=3)), Target(macs=0.5), between=between)
    assert len(seen) == 2
    assert network.parameter_count() > seen[0] > seen[1]


def test_an_unreachable_target_names_the_limit() -> None:
    with pytest.raises(TargetUnreachable, match=r"macs 0\.02 was asked and 0\.\d+ can be reached"):
        run(NETWORKS["padded-resnet"](), Prune(criterion="magnitude"), Target(macs=0.02))


def test_a_network_without_channels_to_remove_is_refused() -> None:
    network = traced(torch.nn.Linear(20, 4), 20)
    with pytest.raises(NothingRemoved, match="no channel"):
        run(network, Prune(criterion="magnitude"), Target(macs=0.5))


def test_protecting_everything_is_unreachable_and_says_what_binds() -> None:
    with pytest.raises(TargetUnreachable, match="protect"):
        run(NETWORKS["vgg"](), Prune(criterion="magnitude", protect=["*"]), Target(macs=0.5))


@pytest.fixture(scope="module")
def resnet20(shared_data: Path) -> Network:
    limits = ChildLimits(
        memory_bytes=2**33, cpu_seconds=600, file_bytes=2**30, dataset_bytes=2**30,
        model_nodes=10_000, threads=1, device="cpu",
    )  # fmt: skip
    return read_pt2(shared_data / "models" / "resnet20.pt2", limits)


@pytest.mark.parametrize("criterion", ["magnitude", "taylor"])
def test_a_real_resnet_at_half_its_macs(resnet20: Network, shared_data: Path, criterion: str) -> None:
    with np.load(shared_data / "cifar10-dev.npz") as file:
        images, labels = file["x_train"][::80], file["y_train"][::80]
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255).contiguous()
    samples = TensorSamples(inputs, torch.from_numpy(labels))
    pruned = run(resnet20, Prune(criterion=criterion), Target(macs=0.5), samples)
    assert sum(group.channels for group in pruned.structure.groups if group.role == "channel") == 400
    assert 0.45 <= pruned.plan.macs_ratio <= 0.5
    assert pruned.self_check < 1e-5
    assert all(layer.channels_kept % 8 == 0 for layer in pruned.plan.layers if layer.name != "linear")
