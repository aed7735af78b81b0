"""Which weights still do something."""

import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, traced
from worker.audit.effective import contributing
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_in_a_dense_network_every_weight_contributes(name: str) -> None:
    network = NETWORKS[name]()
    layers = analyze(network, example_inputs(network)).layers
    found = contributing(network, [layer.weight for layer in layers])
    assert found is not None
    if name == "attention":
        # One layer, read at its class token: the query of that token is the same for every input.
        query, rest = found["qkv.weight"].tensor_split([len(found["qkv.weight"]) // 3])
        assert not query.any()
        found["qkv.weight"] = rest
    assert all(mask.float().mean() > 0.97 for mask in found.values()), found


class Chain(nn.Module):
    """Two convolutions, a gate and a classifier, with biases everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


def chain() -> Network:
    return traced(Chain(), 3, 5, 5)


def test_what_reads_a_constant_does_not_contribute() -> None:
    network = chain()
    tensors = dict(network.parameters())
    with torch.no_grad():
        tensors["first.weight"][2] = 0  # channel 2 is relu(bias): a constant
    found = contributing(network, ["first.weight", "second.weight", "head.weight"])
    assert found is not None
    assert not found["first.weight"][2].any()
    assert not found["second.weight"][:, 2].any()
    assert found["second.weight"][:, [0, 1, 3, 4, 5]].all()
    assert found["head.weight"].all()
    assert found["first.weight"][[0, 1, 3, 4, 5]].all()


def test_what_nobody_reads_does_not_contribute() -> None:
    network = chain()
    tensors = dict(network.parameters())
    with torch.no_grad():
        tensors["head.weight"][:, 1] = 0
        tensors["second.weight"][[0, 2, 3], 4] = 0  # channel 4 is read by unit 1 alone, which nobody reads
    found = contributing(network, ["first.weight", "second.weight", "head.weight"])
    assert found is not None
    assert not found["second.weight"][1].any()
    assert not found["first.weight"][4].any()
    assert found["first.weight"][[0, 1, 2, 3, 5]].all()
    assert torch.equal(found["head.weight"], tensors["head.weight"] != 0)


def test_a_unit_that_a_rectifier_silences_is_still_connected() -> None:
    network = chain()
    with torch.no_grad():
        dict(network.parameters())["norm.bias"].fill_(-1000.0)
    found = contributing(network, ["first.weight"])
    assert found is not None
    assert found["first.weight"].all()


def test_answers_that_are_no_numbers_say_nothing() -> None:
    network = chain()
    with torch.no_grad():
        dict(network.parameters())["head.bias"].fill_(torch.nan)
        dict(network.parameters())["second.weight"].fill_(torch.inf)
    assert contributing(network, ["first.weight"]) is None
