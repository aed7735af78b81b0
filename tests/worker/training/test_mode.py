import torch
from torch import nn

from tests.worker.digits import digits_samples, exported, trained_digits
from worker.training.mode import set_mode
from worker.training.weights import copy_network


def batch() -> torch.Tensor:
    return next(digits_samples("train").batches(64)).inputs[0]


def test_training_mode_uses_batch_statistics_moves_the_running_ones_and_drops_out():
    network = copy_network(trained_digits())
    before = {name: buffer.clone() for name, buffer in network.module.named_buffers()}
    set_mode(network.module, training=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = network(batch())[0], network(batch())[0]
    assert not torch.equal(first, second)
    assert all(not torch.equal(buffer, before[name]) for name, buffer in network.module.named_buffers())


def test_the_way_back_to_inference_is_exact():
    network = copy_network(trained_digits())
    set_mode(network.module, training=True)
    set_mode(network.module, training=False)
    assert torch.equal(network(batch())[0], trained_digits()(batch())[0])


def test_a_module_in_training_mode_computes_the_same():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Flatten(), nn.Linear(144, 3))
    network = exported(module, torch.randn(2, 1, 8, 8))
    set_mode(network.module, training=True)
    module.train()
    outputs = []
    for run in (lambda: network(batch())[0], lambda: module(batch())):
        torch.manual_seed(1)
        outputs.append(run())
    torch.testing.assert_close(outputs[0], outputs[1])


def test_a_norm_without_running_statistics_keeps_using_those_of_the_batch():
    module = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    network = exported(module, torch.randn(2, 1, 8, 8))
    set_mode(network.module, training=False)
    torch.testing.assert_close(network(batch())[0], module(batch()))
