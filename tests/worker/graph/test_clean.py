import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, VGG, traced
from worker.errors import UnsupportedModel


def targets(network: object) -> set[str]:
    return {str(node.target) for node in network.module.graph.nodes if node.op == "call_function"}


def test_decomposed_batch_norm_is_restored() -> None:
    found = targets(traced(VGG(), 3, 16, 16, decompose=True))
    assert "aten.batch_norm.default" in found
    assert not {name for name in found if "native_batch_norm" in name}


def test_in_place_ops_become_functional_without_changing_the_answer() -> None:
    network = NETWORKS["conv-resnet"]()
    assert not {name for name in targets(network) if name.split(".")[1].endswith("_")}


class Residual(nn.Module):
    """`x` is written to and then read again: the later reader sees the new value."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        torch.relu_(y)
        return y + 1


def test_a_later_reader_sees_what_was_written_in_place() -> None:
    module = Residual()
    network = traced(module, 8)
    x = torch.randn(4, 8)
    assert (network(x)[0] == module(x)).all()


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        torch.relu_(y[:, :4])
        return y


def test_writing_through_a_view_that_is_read_later_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="relu_"):
        traced(Aliased(), 8)


def test_no_metadata_is_left() -> None:
    assert all(not node.meta for node in NETWORKS["mlp"]().module.graph.nodes)
