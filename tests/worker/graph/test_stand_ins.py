"""A pass without arithmetic finds the shapes of one with it."""

import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import NETWORKS, traced
from tests.worker.zoo import ZOO
from worker.errors import UnsupportedModel
from worker.graph import shapes
from worker.graph.network import Network
from worker.graph.shapes import example_inputs, forward, record_shapes
from worker.graph.stand_ins import stand_in
from worker.graph.traced import from_exported

aten = torch.ops.aten


def no_real_pass(*_: object) -> None:
    raise AssertionError("a real pass was needed")


@pytest.mark.parametrize("name", ["resnet-padded", "efficientnet", "unet", "conv3d", "conv1d", "swin", "bert", "gpt2"])
def test_shapes_are_those_of_a_real_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = from_exported(ZOO[name]().exported())
    example = example_inputs(network)
    real = forward(network, example).recorded
    monkeypatch.setattr(shapes, "forward", no_real_pass)
    assert record_shapes(network, example) == real


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_needs_a_real_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Network = NETWORKS[name]()
    example = example_inputs(network, 2)
    real = forward(network, example).recorded
    monkeypatch.setattr(shapes, "forward", no_real_pass)
    assert record_shapes(network, example) == real


def test_a_network_that_does_not_run_is_refused_with_the_reason_of_a_real_pass() -> None:
    network = traced(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), 3, 4)
    with pytest.raises(UnsupportedModel, match=r"linear.*shapes cannot be multiplied"):
        record_shapes(network, (torch.randn(1, 3, 5),))


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        (aten.conv2d.default, (torch.randn(2, 8, 33, 40), torch.randn(6, 4, 3, 5), None, [2], [1, 3], [2, 1], 2)),
        (aten.conv1d.default, (torch.randn(1, 8, 64), torch.randn(5, 8, 7), torch.randn(5), [3])),
        (aten.matmul.default, (torch.randn(3, 1, 4, 5), torch.randn(7, 5, 6))),
        (aten.addmm.default, (torch.randn(6), torch.randn(4, 5), torch.randn(5, 6))),
        (aten.linear.default, (torch.randn(2, 3, 5), torch.randn(7, 5), torch.randn(7))),
        (
            aten.scaled_dot_product_attention.default,
            (torch.randn(2, 8, 5, 4), torch.randn(2, 2, 6, 4), torch.randn(2, 2, 6, 3), None, 0.0, False),
        ),
        (aten.gt.Tensor, (torch.randn(90, 90), torch.randn(1, 90))),
        (aten.mul.Tensor, (torch.randn(90, 90).half(), torch.randn(()))),
        (aten.where.self, (torch.ones(90, 90) > 0, torch.randn(90, 90), torch.randn(()))),
        (aten.layer_norm.default, (torch.randn(80, 90), [90])),
    ],
)
def test_what_stands_in_has_the_shape_and_type_of_the_result(
    op: torch._ops.OpOverload, arguments: tuple[object, ...]
) -> None:
    found = stand_in(op, arguments)
    options = {"enable_gqa": True} if op is aten.scaled_dot_product_attention.default else {}
    real: Tensor = op(*arguments, **options)
    if op is not aten.where.self:  # its first argument is no number: it runs
        assert found is not None
        assert (found.shape, found.dtype) == (real.shape, real.dtype)
        assert found.untyped_storage().nbytes() <= 8
    else:
        assert found is None
