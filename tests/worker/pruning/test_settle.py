"""The search for a target that has to be measured, on a machine whose times are made up."""

from functools import cache

import numpy as np
import pytest

from service.contract.recipe import Prune, Target
from tests.worker.networks import NETWORKS
from worker.errors import TargetUnreachable
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.pruning.allocation import Limits, limits_of
from worker.pruning.block_prices import ByValue, sums_of
from worker.pruning.budget import fit, least
from worker.pruning.goals import Goal, goals_of, with_budget
from worker.pruning.measures import Measure, Summed
from worker.pruning.settle import Settled, settle
from worker.pruning.trial import Reading


@cache
def network() -> Network:
    return NETWORKS["conv-resnet"]()


@cache
def structure() -> Structure:
    return analyze(network(), example_inputs(network()))


@cache
def limits() -> Limits:
    return limits_of(structure(), Prune(), lambda _code, _detail: None)


def times() -> Measure:
    """Ten milliseconds, by MACs alone."""
    dense = structure().cost(structure().everything()).macs
    return Summed(structure().model, ((10 / dense, structure().model.macs),))


class Machine:
    """Takes `factor` times what was predicted and `overhead` milliseconds more; intervals are a hundredth wide."""

    def __init__(self, factor: float, overhead: float) -> None:
        self._factor, self._overhead = factor, overhead
        self.tried: list[float] = []

    def __call__(self, selection: Selection) -> Reading:
        predicted = float(times().of(structure().kept_channels(selection)))
        self.tried.append(self._factor * predicted + self._overhead)
        return Reading({"latency": self.tried[-1]}, {"latency": 1.01 * self.tried[-1]})


def settled(machine: Machine, latency: float, **more: float) -> Settled:
    whole, scores = structure().everything(), np.random.default_rng(0).random(structure().component_count + 1)
    sums = sums_of(structure(), whole, scores)

    def propose(goals: tuple[Goal, ...]) -> Selection | None:
        return fit(structure(), limits(), scores, with_budget(goals), whole, ByValue(sums, False))

    goals = goals_of(Target(latency=latency, **more), network(), structure(), None, times())
    return settle(structure(), goals, least(structure(), limits(), scores, whole), propose, machine)


@pytest.mark.parametrize(("factor", "overhead"), [(1.0, 0.0), (1.4, 0.0), (0.5, 0.0), (0.7, 2.0), (1.0, 3.0)])
def test_a_wrong_prediction_is_corrected_until_the_measured_time_is_met_and_used_up(
    factor: float, overhead: float
) -> None:
    machine = Machine(factor, overhead)
    found = settled(machine, 5.0)
    assert found.reading.worst["latency"] <= 5.0
    assert found.reading.middle["latency"] > 4.2
    assert len(machine.tried) <= 8


def test_a_limit_is_what_was_measured_of_the_least() -> None:
    machine = Machine(1.0, 4.9)
    with pytest.raises(TargetUnreachable, match=r"latency 5 ms was asked and 5\.\d+ ms can be reached \(measured 5\."):
        settled(machine, 5.0)
    assert min(machine.tried) == machine.tried[-1]


def test_what_is_met_already_is_left_whole() -> None:
    found = settled(Machine(1.0, 0.0), 11.0)
    assert found.selection.all()


def test_what_is_exact_holds_whatever_is_measured() -> None:
    found = settled(Machine(0.5, 0.0), 9.0, macs=0.4)
    dense = structure().cost(structure().everything())
    assert 0.35 * dense.macs < structure().cost(found.selection).macs <= 0.4 * dense.macs
    with pytest.raises(TargetUnreachable, match=r"macs 0\.001 was asked and 0\.\d+ can be reached"):
        settled(Machine(0.5, 0.0), 9.0, macs=0.001)
