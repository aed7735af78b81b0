"""What `run_decompositions` takes apart is put together again, under the weights it had."""

import pytest
import torch
from torch import Tensor, nn

from tests.worker.networks import traced
from worker.errors import UnsupportedModel


class Everything(nn.Module):
    """Every layer that decomposition turns into a form with several results, or into another op."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.batch, self.group = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2, output_padding=1, dilation=2)
        self.layer, self.drop, self.head = nn.LayerNorm(6), nn.Dropout(0.3), nn.Linear(6, 4)
        self.line = nn.Conv1d(6, 6, 1, groups=3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.max_pool2d(self.group(self.batch(self.conv(x))), 3, 2, padding=1, ceil_mode=True)
        x = self.line(self.up(x).flatten(2)).mean(2)
        return self.head(self.drop(self.layer(x)))


def test_decomposed_layers_come_back_whole_and_answer_alike() -> None:
    module, x = Everything(), torch.randn(3, 3, 9, 9)
    network = traced(module, 3, 9, 9, decompose=True)
    found = {str(node.target) for node in network.module.graph.nodes}
    whole = ("conv2d.default", "conv1d.default", "conv_transpose2d.input", "batch_norm.default", "group_norm.default")
    assert found >= {f"aten.{name}" for name in (*whole, "layer_norm.default", "linear.default", "max_pool2d.default")}
    assert not {name for name in found if "native" in name or "addmm" in name or "convolution" in name}
    torch.testing.assert_close(network(x)[0], module(x), rtol=1e-5, atol=1e-6)


class Indices(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.max_pool2d(x, 2, return_indices=True)


def test_a_second_result_that_is_read_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match="max_pool2d_with_indices"):
        traced(Indices(), 3, 8, 8)
