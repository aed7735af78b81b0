"""What each criterion measures, checked against its definition on a net small enough to do by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from service.contract.recipe import Prune
from tests.worker.networks import NETWORKS, traced
from tests.worker.pruning.samples import TensorSamples
from worker.data.batches import Task
from worker.errors import JobFailed
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, analyze
from worker.graph.surgery import remove
from worker.pruning.criteria import CRITERIA
from worker.pruning.scoring import Scene, Scores


def scene_of(network: Network, samples: TensorSamples | None, task: Task = "classification") -> Scene:
    structure = analyze(network, example_inputs(network))
    return Scene(network, network, structure, structure.everything(), samples, task, Prune(), 0)


def samples_of(network: Network, count: int = 12, classes: int = 10) -> TensorSamples:
    generator = torch.Generator().manual_seed(3)
    return TensorSamples(example_inputs(network, count)[0], torch.randint(0, classes, (count,), generator=generator))


def two_layers() -> tuple[Network, nn.Sequential]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    return traced(module, 6), module


def test_taylor_ranks_by_the_mean_square_of_what_each_sample_would_lose() -> None:
    network, module = two_layers()
    samples = samples_of(network, classes=4)
    assert samples.labels is not None
    hidden = module[1](module[0](samples.inputs)).detach().requires_grad_()
    nn.functional.cross_entropy(module[2](hidden), samples.labels, reduction="sum").backward()
    assert hidden.grad is not None
    wanted = (hidden * hidden.grad).square().mean(0).detach().numpy()
    found = CRITERIA["taylor"].score(scene_of(network, samples))[1:]
    # What goes together is judged together: see test_taylor_together.py. The first to go costs what it costs alone.
    assert np.array_equal(np.argsort(found), np.argsort(wanted))
    np.testing.assert_allclose(found.min(), wanted.min(), rtol=1e-4)


def test_magnitude_is_the_mean_over_members_of_their_relative_norm() -> None:
    network, module = two_layers()
    rows = module[0].weight.detach().square().sum(1).numpy()
    columns = module[2].weight.detach().square().sum(0).numpy()
    found = CRITERIA["magnitude"].score(scene_of(network, None))[1:]
    np.testing.assert_allclose(found, (rows / rows.mean() + columns / columns.mean()) / 2, rtol=1e-6)


def test_batchnorm_reads_the_scale() -> None:
    network = NETWORKS["conv-resnet"]()
    scene = scene_of(network, None)
    scores = CRITERIA["batchnorm"].score(scene)
    group = scene.structure.groups[0]
    gamma = dict(network.parameters())["stem.1.weight"].detach().abs().numpy()
    np.testing.assert_allclose(scores[group.components], gamma, rtol=1e-6)


def test_batchnorm_without_batch_norm_is_refused_with_the_way_out() -> None:
    with pytest.raises(JobFailed, match="magnitude or taylor"):
        CRITERIA["batchnorm"].score(scene_of(NETWORKS["mlp"](), None))


def test_taylor_without_samples_is_refused() -> None:
    with pytest.raises(JobFailed, match="needs a dataset"):
        CRITERIA["taylor"].score(scene_of(NETWORKS["mlp"](), None))


def test_random_follows_the_seed() -> None:
    scene = scene_of(NETWORKS["mlp"](), None)
    random = CRITERIA["random"]
    assert np.array_equal(random.score(scene), random.score(scene))
    assert not np.array_equal(random.score(scene), random.score(replace(scene, seed=1)))


def test_a_channel_that_nothing_reads_has_no_importance() -> None:
    network, _ = two_layers()
    dict(network.parameters())["2.weight"].data[:, 5] = 0
    scores = CRITERIA["taylor"].score(scene_of(network, samples_of(network, classes=4)))
    assert scores[1 + 5] == 0
    assert (np.delete(scores[1:], 5) > 0).all()


class TwoAnswers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4), nn.Linear(8, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.trunk(x).relu()
        return self.first(hidden), self.last(self.second(hidden).relu())


def test_what_feeds_only_a_second_output_has_no_importance_for_the_first() -> None:
    network = traced(TwoAnswers(), 6)
    scene = scene_of(network, samples_of(network, classes=4))
    scores = CRITERIA["taylor"].score(scene)
    groups = {group.layers: scores[list(group.components)] for group in scene.structure.groups}
    assert (groups[("second",)] == 0).all()
    assert (groups[("trunk",)] > 0).any()


class Sequence(nn.Module):
    """Two linear layers over (batch, time, features), with time before the batch in between or not."""

    def __init__(self, *, time_first: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.time_first = time_first
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.time_first:
            return self.down(self.up(x).relu()).mean(1)
        return self.down(self.up(x.transpose(0, 1)).relu()).mean(0)


@pytest.mark.parametrize("count", [5, 12])
def test_taylor_tells_samples_apart_wherever_the_network_moves_the_batch(count: int) -> None:
    # With 5 samples of 5 steps no size tells the two axes apart.
    first, second = (traced(Sequence(time_first=order), 5, 6) for order in (False, True))
    samples = samples_of(first, count, classes=4)
    wanted, found = (CRITERIA["taylor"].score(scene_of(network, samples)) for network in (first, second))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("task", ["unlabelled", "regression", "classification"])
def test_taylor_works_without_labels(task: Task) -> None:
    network, _ = two_layers()
    samples = TensorSamples(samples_of(network).inputs, None)
    assert (CRITERIA["taylor"].score(scene_of(network, samples, task))[1:] > 0).any()


def cut_scores(name: str, network: Network, selection: Selection) -> tuple[Scores, Scene]:
    scene = scene_of(network, samples_of(network))
    pruned = remove(network, scene.structure, selection)
    cut = replace(scene, network=pruned, selection=selection)
    return CRITERIA[name].score(cut), cut


@pytest.mark.parametrize("criterion", ["magnitude", "taylor", "batchnorm"])
@pytest.mark.parametrize("name", ["padded-resnet", "shufflenet", "densenet", "efficientnet"])
def test_scores_of_a_cut_network_are_those_of_the_cut_network_analysed_afresh(name: str, criterion: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    selection = structure.everything()
    for group in structure.groups:
        selection[group.components[: group.channels // 4]] = False
    scores, cut = cut_scores(criterion, network, selection)
    fresh = CRITERIA[criterion].score(scene_of(cut.network, samples_of(network)))[1:]
    # The same components are found again, in the same order.
    np.testing.assert_allclose(scores[1:][selection[1:]], fresh, rtol=1e-4, atol=1e-9)
