"""Batch norm goes into a graph and out of it without changing what the network computes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.worker.formats.onnx.reading import LIMITS, export_dynamo, warmed_up
from tests.worker.formats.onnx.small_networks import NETWORKS
from worker.data.batches import Batch
from worker.formats.onnx import read_onnx
from worker.graph.network import Network
from worker.graph.normalization import fold_batch_norms, has_batch_norm, insert_batch_norms
from worker.graph.traced import from_exported


class Images:
    """A split of random images, not centred."""

    def __init__(self, count: int) -> None:
        self.images = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1)) + 0.5

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        for rows in torch.arange(len(self)).split(batch_size):
            yield Batch((self.images[rows],), None, rows)


def traced(module: nn.Module) -> Network:
    batch = torch.export.Dim("batch")
    return from_exported(torch.export.export(module, (torch.randn(3, 3, 12, 12),), dynamic_shapes=({0: batch},)))


def relative_error(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def norms(network: Network) -> int:
    return len(network.module.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default))


@pytest.mark.parametrize("name", NETWORKS)
def test_folding_changes_no_answer_and_leaves_the_given_network_alone(name: str) -> None:
    module = warmed_up(NETWORKS[name]())
    network = traced(module)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    folded = fold_batch_norms(network)
    x = torch.randn(4, 3, 12, 12)
    with torch.no_grad():
        assert relative_error(folded(x)[0], module(x)) < 2e-6
        assert network(x)[0].equal(traced(module)(x)[0])
    assert all(value.equal(before[key]) for key, value in network.module.state_dict().items())


@pytest.mark.parametrize(("name", "left"), [("resnet-convolved", 0), ("mobilenet", 0), ("vgg", 0), ("densenet", 3)])
def test_only_batch_norms_without_a_layer_of_their_own_stay(name: str, left: int) -> None:
    assert norms(fold_batch_norms(traced(warmed_up(NETWORKS[name]())))) == left


def test_batch_norm_over_the_length_of_a_sequence_is_not_folded_into_the_linear_layer() -> None:
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(12, 36), nn.BatchNorm1d(36)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.linear(x.flatten(1, 2)))  # type: ignore[no-any-return]

    network = traced(Sequence().eval())
    assert norms(fold_batch_norms(network)) == 1


def test_inserted_batch_norms_change_no_answer_and_hold_the_statistics_of_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_dynamo(warmed_up(NETWORKS["resnet-convolved"]()), path, torch.randn(2, 3, 12, 12), 20)
    network, samples = read_onnx(path, LIMITS), Images(20)
    assert not has_batch_norm(network)
    with_norms = insert_batch_norms(network, samples, batch_size=8)
    assert norms(with_norms) == 6  # the stem, two blocks of two, one shortcut
    x = samples.images
    with torch.no_grad():
        assert relative_error(with_norms(x)[0], network(x)[0]) < 2e-6
        weight = dict(with_norms.parameters())["stem.0.weight"]
        assert weight.flatten(1).norm(dim=1).tolist() == pytest.approx([2**0.5] * len(weight))
        output = torch.nn.functional.conv2d(x, weight, padding=1).double()
    buffers = dict(with_norms.module.named_buffers())
    torch.testing.assert_close(buffers["stem.0_bn.running_mean"].double(), output.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    expected = output.var((0, 2, 3), correction=0)
    torch.testing.assert_close(buffers["stem.0_bn.running_var"].double(), expected, rtol=1e-4, atol=1e-5)
    assert "stem.0.bias" not in dict(with_norms.parameters())


def test_inserted_batch_norms_fold_back_to_the_network(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_dynamo(warmed_up(NETWORKS["mobilenet"]()), path, torch.randn(2, 3, 12, 12), 20)
    network = read_onnx(path, LIMITS)
    folded = fold_batch_norms(insert_batch_norms(network, Images(10)))
    before, after = dict(network.parameters()), dict(folded.parameters())
    assert before.keys() == after.keys()
    for name, parameter in before.items():
        torch.testing.assert_close(after[name], parameter, rtol=1e-5, atol=1e-5)


def test_no_batch_norm_is_inserted_into_a_squeeze_block_or_after_the_last_layer() -> None:
    fully_convolutional = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)).eval()
    with_norms = insert_batch_norms(traced(fully_convolutional), Images(4))
    assert [name for name, _ in with_norms.module.named_buffers()] == ["0_bn.running_mean", "0_bn.running_var"]
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1)).eval()
    assert not has_batch_norm(insert_batch_norms(traced(squeeze), Images(4)))
