import torch
from torch import nn

from tests.worker.digits import exported, trained_digits
from worker.training.weights import copy_network, load_weights, weights_digest, weights_of


def test_a_copy_answers_alike_and_shares_nothing():
    copy = copy_network(trained_digits())
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(copy(images)[0], trained_digits()(images)[0])
    digest = weights_digest(trained_digits())
    with torch.no_grad():
        for weight in weights_of(copy).values():
            weight.zero_()
    assert weights_digest(trained_digits()) == digest != weights_digest(copy)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def test_a_copy_keeps_tied_weights_tied():
    copy = copy_network(exported(Tied(), torch.randn(2, 4)))
    assert len(weights_of(copy)) == 2
    assert sum(parameter.numel() for _, parameter in copy.parameters()) == 20


def test_weights_can_be_put_back():
    copy = copy_network(trained_digits())
    kept = {name: weight.clone() for name, weight in weights_of(copy).items()}
    with torch.no_grad():
        next(iter(weights_of(copy).values())).add_(1)
    load_weights(copy, kept)
    assert weights_digest(copy) == weights_digest(trained_digits())
