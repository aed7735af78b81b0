"""In-place ops become functional without changing an answer, or the model is refused by the name of the op."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, traced
from worker.errors import UnsupportedModel


class After(nn.Module):
    """A linear layer and what is done with its answer."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.then = nn.Linear(8, 8), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.a(x))


def rectified_and_read_again(y: Tensor) -> Tensor:
    torch.relu_(y)
    return y + 1


def read_before_it_is_overwritten(y: Tensor) -> Tensor:
    before = y * 2
    y.add_(1)
    return before + y


def overwritten_twice(y: Tensor) -> Tensor:
    y.mul_(2)
    y.add_(y)
    return y


def overwritten_after_the_last_use_of_its_view(y: Tensor) -> Tensor:
    head = y[:, :4].sum(1, keepdim=True)
    return y.relu_() + head


def part_overwritten(y: Tensor) -> Tensor:
    torch.relu_(y[:, :4])
    return y


def part_overwritten_and_read(y: Tensor) -> Tensor:
    part = y[:, 2:6]
    torch.relu_(part)
    return part + y[:, 3:7]


def parts_of_parts_overwritten(y: Tensor) -> Tensor:
    mask = y.new_zeros(4, 8)
    mask[1:, :4] = 1
    mask[2] = 2
    mask[:2, 3:] = 3
    return (y.unsqueeze(1) + mask).flatten(1)


def emptied(y: Tensor) -> Tensor:
    return y + y.clone().zero_() + y.clone().fill_(2.0)


@pytest.mark.parametrize(
    "then",
    [
        *(rectified_and_read_again, read_before_it_is_overwritten, overwritten_twice),
        *(overwritten_after_the_last_use_of_its_view, emptied),
        *(part_overwritten, part_overwritten_and_read, parts_of_parts_overwritten),
    ],
)
def test_readers_see_what_was_there_when_they_read(then: Callable[[Tensor], Tensor]) -> None:
    module, x = After(then), torch.randn(4, 8)
    network = traced(module, 8)
    assert torch.equal(network(x)[0], module(x))


def part_overwritten_under_another(y: Tensor) -> Tensor:
    other = y[:, 2:]
    torch.relu_(y[:, :4])
    return y.sum(1, keepdim=True) + other


def whole_overwritten_under_a_part(y: Tensor) -> Tensor:
    part = y[:, :4]
    torch.relu_(y)
    return part * 2


def overwritten_under_a_view_of_a_view(y: Tensor) -> Tensor:
    part = y.view(-1, 2, 4).permute(0, 2, 1)
    torch.relu_(y)
    return part * 2


@pytest.mark.parametrize(
    "then", [part_overwritten_under_another, whole_overwritten_under_a_part, overwritten_under_a_view_of_a_view]
)
def test_memory_that_is_also_read_through_a_view_is_not_overwritten(then: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedModel, match=r"relu_.*shares.*run_decompositions"):
        traced(After(then), 8)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_in_place_op_is_left(name: str) -> None:
    targets = [node.target for node in NETWORKS[name]().module.graph.nodes]
    assert not any(target._schema.is_mutable for target in targets if isinstance(target, torch._ops.OpOverload))
