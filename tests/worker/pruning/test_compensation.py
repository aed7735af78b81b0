from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.worker.digits import digits_samples, trained_digits
from tests.worker.networks import NETWORKS, traced
from tests.worker.pruning.samples import TensorSamples
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove
from worker.pruning.compensation import compensate
from worker.training.evaluation import predict
from worker.training.normalization import recalibrate
from worker.training.weights import weights_digest


class Twice(nn.Module):
    """Makes every channel twice, under different scales, before an op that sums over channels."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.last = last
        with torch.no_grad():
            self.first.weight[4:] = 2 * self.first.weight[:4]

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        return self.last(y) if isinstance(self.last, nn.Conv2d) else self.last(y.mean((2, 3)))


def images(count: int = 64) -> TensorSamples:
    return TensorSamples(torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)), None)


def without(structure: Structure, channels: list[int]) -> Selection:
    (group,) = structure.groups
    selection = structure.everything()
    selection[group.components[channels]] = False
    return selection


@pytest.mark.parametrize(
    "last",
    [lambda: nn.Conv2d(8, 5, 3, padding=1), lambda: nn.Conv2d(8, 5, 1, bias=False), lambda: nn.Linear(8, 5)],
    ids=["convolution", "without-bias", "linear"],
)
def test_channels_that_are_copies_of_others_can_go_without_a_trace(last: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = traced(Twice(last()), 3, 8, 8)
    structure = analyze(network, example_inputs(network))
    everything, selection = structure.everything(), without(structure, [4, 5, 6, 7])
    inputs = images().inputs
    (wanted,) = network(inputs)
    (cut,) = remove(network, structure, selection)(inputs)
    (compensated,) = remove(compensate(network, structure, everything, selection, images()), structure, selection)(
        inputs
    )
    scale = float(wanted.detach().abs().max())
    assert float((cut - wanted).detach().abs().max()) > 0.1 * scale
    assert float((compensated - wanted).detach().abs().max()) < 0.02 * scale  # the ridge keeps it from being exact


def some_selection(network: Network) -> tuple[Structure, Selection]:
    structure = analyze(network, example_inputs(network))
    selection = structure.everything()
    random = np.random.default_rng(0)
    for group in structure.groups:
        selection[random.choice(group.components, len(group.components) // 3, replace=False)] = False
    return structure, selection


def test_a_trained_network_stays_nearer_to_its_answers_when_compensated() -> None:
    network, samples = trained_digits(), digits_samples("calibration")
    structure, selection = some_selection(network)
    adapted = compensate(network, structure, structure.everything(), selection, samples)
    unseen = digits_samples("confirm")
    wanted, cut, compensated = (
        predict(recalibrate(net, samples), unseen).logits
        for net in (network, remove(network, structure, selection), remove(adapted, structure, selection))
    )
    assert np.square(compensated - wanted).mean() < 0.8 * np.square(cut - wanted).mean()


def test_the_given_network_is_left_alone_and_a_cut_of_nothing_changes_nothing() -> None:
    network = NETWORKS["conv-resnet"]()
    structure, selection = some_selection(network)
    before = weights_digest(network)
    samples = TensorSamples(example_inputs(network, 8)[0], None)
    adapted = compensate(network, structure, structure.everything(), selection, samples)
    assert weights_digest(network) == before != weights_digest(adapted)
    everything = structure.everything()
    assert weights_digest(compensate(network, structure, everything, everything, samples)) == before


def test_a_channel_that_nothing_predicts_is_only_averaged_into_the_bias() -> None:
    torch.manual_seed(0)
    network = traced(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), 6)
    structure = analyze(network, example_inputs(network))
    selection = without(structure, [0, 1])
    samples = TensorSamples(torch.randn(512, 6, generator=torch.Generator().manual_seed(1)), None)
    adapted = compensate(network, structure, structure.everything(), selection, samples)
    (wanted,) = network(samples.inputs)
    (compensated,) = remove(adapted, structure, selection)(samples.inputs)
    assert float((compensated.mean(0) - wanted.mean(0)).detach().abs().max()) < 1e-3
