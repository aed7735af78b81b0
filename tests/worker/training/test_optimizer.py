import pytest
import torch

from service.contract.recipe import Finetune
from tests.worker.digits import untrained_digits
from worker.training.optimizer import build_optimizer, load_optimizer, optimizer_tensors, set_learning_rate
from worker.training.weights import copy_network


def test_norms_and_biases_are_not_decayed():
    network = copy_network(untrained_digits())
    optimizer = build_optimizer(network, Finetune(weight_decay=0.1))
    names = {id(parameter): name for name, parameter in network.parameters()}
    decayed = {names[id(p)] for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {"conv1.weight", "conv2.weight", "head.weight"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


@pytest.mark.parametrize("settings", [Finetune(), Finetune(momentum=0.0), Finetune(optimizer="adamw")])
def test_its_state_can_be_put_into_another(settings):
    def step(network, optimizer):
        set_learning_rate(optimizer, 0.01)
        for index, (_, parameter) in enumerate(network.parameters()):
            parameter.grad = torch.full_like(parameter, 0.1 * (index + 1))
        optimizer.step()

    first = copy_network(untrained_digits())
    optimizer = build_optimizer(first, settings)
    step(first, optimizer)
    second = copy_network(first)
    other = build_optimizer(second, settings)
    load_optimizer(
        second, other, {name: tensor.clone() for name, tensor in optimizer_tensors(first, optimizer).items()}
    )
    step(first, optimizer)
    step(second, other)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first.parameters(), second.parameters(), strict=True))
