import pytest
import torch
from torch import nn

from tests.worker.networks import NETWORKS, traced
from worker.graph.inner import inner_values
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze
from worker.graph.surgery import remove
from worker.training.features import FeatureMatch
from worker.training.weights import copy_network


@pytest.mark.parametrize("name", ["conv-resnet", "padded-resnet", "mobilenet-v2", "densenet", "mlp"])
def test_a_network_matches_itself_and_its_cut_is_compared_channel_by_channel(name: str) -> None:
    network = NETWORKS[name]()
    structure = analyze(network, example_inputs(network))
    inputs = example_inputs(network, 4)
    everything = inner_values(structure, structure.everything())
    assert everything
    assert all(inner.kept is None for inner in everything)
    answers, wanted, loss = FeatureMatch(copy_network(network), network, everything)(inputs)
    assert torch.equal(answers, wanted)
    assert float(loss.detach()) == 0

    selection = structure.everything()
    for group in structure.groups:
        selection[group.components[: len(group.components) // 2]] = False
    cut = inner_values(structure, selection)
    assert any(inner.kept is not None for inner in cut)
    _, _, loss = FeatureMatch(remove(network, structure, selection), network, cut)(inputs)
    assert float(loss.detach()) > 0


def test_the_loss_is_the_squared_difference_relative_to_the_teacher() -> None:
    """With the last hidden layer 1.5 times as large, every value that enters the classifier is off by half of it."""
    torch.manual_seed(0)
    teacher = traced(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)), 5)
    student = copy_network(teacher)
    with torch.no_grad():
        for name, parameter in student.parameters():
            if name.startswith("0."):
                parameter.mul_(1.5)
    structure = analyze(teacher, example_inputs(teacher))
    (value,) = inner_values(structure, structure.everything())
    _, _, loss = FeatureMatch(student, teacher, (value,))(example_inputs(teacher, 16))
    assert float(loss.detach()) == pytest.approx(0.25, rel=1e-5)
