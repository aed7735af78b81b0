"""Programs that torch.export traced in this process, as networks."""

import torch
from torch import Tensor, nn

from tests.worker.networks import traced


class Twice(nn.Module):
    def __init__(self, second: nn.Parameter) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(second)
        self.second.weight = second

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def test_one_storage_under_two_names_is_one_parameter() -> None:
    module = Twice(nn.Parameter(torch.randn(6, 6)))
    module.second.weight = nn.Parameter(module.first.weight.data)
    network = traced(module, 6)
    assert [name for name, _ in network.parameters()] == ["first.weight"]
    x = torch.randn(3, 6)
    assert torch.equal(network(x)[0], module(x))


def test_two_equal_copies_stay_two_parameters() -> None:
    network = traced(Twice(nn.Parameter(torch.randn(6, 6))), 6)
    assert [name for name, _ in network.parameters()] == ["first.weight", "second.weight"]


def test_what_nothing_reads_is_not_stored() -> None:
    network = traced(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 3, 8, 8)
    assert not [name for name, _ in network.module.named_buffers() if name.endswith("num_batches_tracked")]
