"""Calls that rules and rewrites were not written for: an upload chooses the arguments, and must not break the job."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.worker.graph.test_equivalence import draw
from tests.worker.networks import NETWORKS, traced
from worker.errors import SelfCheckFailed, UnsupportedModel
from worker.graph import labels
from worker.graph.check import self_check
from worker.graph.network import Network
from worker.graph.rules import Op, find_rule
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.graph.surgery import remove
from worker.profile import profile

aten = torch.ops.aten


class OneKernel(nn.Module):
    """A convolution whose sixteen channels share one kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)
        self.shared = nn.Conv2d(16, 1, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(self.a(x), self.shared.weight.expand(16, -1, -1, -1))
        return self.head(self.c(x).mean([2, 3]))


def test_a_call_that_its_rule_does_not_know_pins_what_it_touches_and_is_named() -> None:
    network = traced(OneKernel(), 3, 12, 12)
    structure = analyze(network, example_inputs(network))
    assert [(blocked.op, blocked.layers, blocked.why) for blocked in structure.blocked] == [
        ("aten.conv2d.default", ("a", "shared"), "the kernel is computed in the graph")
    ]
    assert {group.layers: group.channels for group in structure.groups} == {("c",): 16}
    selection = draw(structure, 0.5, 0)
    inputs = example_inputs(network, 2)
    assert self_check(network, remove(network, structure, selection), structure, selection, inputs) < 1e-5
    assert profile(network).blocked[0].layers == ["a", "shared"]


def test_a_rule_that_fails_pins_what_its_op_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(op: Op) -> None:
        raise IndexError(op.name)

    network = traced(OneKernel(), 3, 12, 12)
    monkeypatch.setattr(
        labels, "find_rule", lambda overload: broken if overload is aten.mean.dim else find_rule(overload)
    )
    structure = analyze(network, example_inputs(network))
    assert ("aten.mean.dim", ("c",), labels.UNUSUAL) in {
        (blocked.op, blocked.layers, blocked.why) for blocked in structure.blocked
    }


class FirstKernel(nn.Module):
    """Only a weight is pinned: nothing that could shrink has come in yet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(1, 16, 3, bias=False), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.conv2d(x, self.first.weight.expand(-1, 3, -1, -1)).mean([2, 3]))


def test_a_layer_that_is_pinned_by_its_own_call_is_named_too() -> None:
    network = traced(FirstKernel(), 3, 8, 8)
    structure = analyze(network, example_inputs(network))
    assert [(blocked.op, blocked.layers) for blocked in structure.blocked] == [("aten.conv2d.default", ("first",))]


def with_computed_groups() -> Network:
    """Group norm with a number of groups that is computed in the graph, as no exporter writes it."""
    network = traced(nn.Sequential(nn.Conv2d(3, 64, 3), nn.GroupNorm(8, 64), nn.Conv2d(64, 4, 3)), 3, 8, 8)
    graph = network.module.graph
    (norm,) = graph.find_nodes(op="call_function", target=aten.group_norm.default)
    with graph.inserting_before(norm):
        channels = graph.call_function(aten.sym_size.int, (norm.args[0], 1))
        norm.update_arg(1, graph.call_function(operator.floordiv, (channels, 8)))
    network.module.recompile()
    return network


def test_a_call_whose_arguments_cannot_follow_the_removal_ends_the_job_by_name() -> None:
    network = with_computed_groups()
    structure = analyze(network, example_inputs(network))
    with pytest.raises(UnsupportedModel, match=r"group_norm \(aten\.group_norm\.default\).*protect"):
        remove(network, structure, draw(structure, 0.5, 0))


def test_a_cut_that_does_not_run_fails_the_self_check_by_name() -> None:
    network = NETWORKS["vgg"]()
    structure = analyze(network, example_inputs(network))
    selection = draw(structure, 0.5, 0)
    pruned = remove(network, structure, selection)
    layer = pruned.module.get_submodule("features.4")
    layer.weight = nn.Parameter(layer.weight[:, 1:])
    with pytest.raises(SelfCheckFailed, match=r"conv2d_1 \(aten\.conv2d\.default\).*protect"):
        self_check(network, pruned, structure, selection, example_inputs(network))
