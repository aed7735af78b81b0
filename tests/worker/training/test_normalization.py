import numpy as np
import torch
from torch import nn

from service.contract.recipe import Input
from tests.worker.data.datasets import dataset
from tests.worker.digits import digits_samples, exported, trained_digits
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.graph.network import Network
from worker.training.evaluation import predict, score
from worker.training.normalization import recalibrate
from worker.training.weights import copy_network, weights_digest, weights_of


def samples_of(images: np.ndarray, network: Network) -> SplitSamples:
    data = dataset(x=images)
    transform = InputTransform.build(Input(), data, network.inputs)
    return SplitSamples(data, np.arange(len(data)), transform, "unlabelled")


def photos(samples: int = 50) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(rng.normal(2, 1, (samples, 3, 1, 1)), 3, (samples, 3, 6, 6)).astype(np.float32)


def test_statistics_are_mean_and_unbiased_variance_over_all_samples():
    network = exported(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), torch.randn(2, 3, 6, 6))
    recalibrated = recalibrate(network, samples_of(photos(), network), batch_size=16)  # the last batch has 2
    found = {name.rpartition(".")[2]: weight for name, weight in weights_of(recalibrated).items()}
    np.testing.assert_allclose(found["running_mean"], photos().mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["running_var"], photos().var((0, 2, 3), ddof=1), rtol=1e-4)


def test_deeper_norms_see_what_normalised_batches_send_them():
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten())
    network = exported(module, torch.randn(2, 3, 6, 6))
    recalibrated = recalibrate(network, samples_of(photos(), network), batch_size=50)
    module.train()
    with torch.no_grad():
        before_norm = module[:3](torch.from_numpy(photos())).numpy()
    weights = weights_of(recalibrated)
    np.testing.assert_allclose(weights["3.running_mean"], before_norm.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(weights["3.running_var"], before_norm.var((0, 2, 3), ddof=1), rtol=1e-3)


class Twice(nn.Module):
    """One norm, called on two values."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return (self.norm(x) + self.norm(2 * x)).flatten(1)


def test_a_norm_that_is_called_twice_knows_both_values():
    network = exported(Twice(), torch.randn(2, 3, 6, 6))
    recalibrated = recalibrate(network, samples_of(photos(), network))
    both = np.concatenate([photos(), 2 * photos()])
    np.testing.assert_allclose(weights_of(recalibrated)["norm.running_mean"], both.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(weights_of(recalibrated)["norm.running_var"], both.var((0, 2, 3), ddof=1), rtol=1e-3)


def test_only_statistics_change_and_the_network_given_stays():
    before = weights_digest(trained_digits())
    recalibrated = recalibrate(trained_digits(), digits_samples("calibration"))
    assert weights_digest(trained_digits()) == before
    for name, parameter in recalibrated.parameters():
        assert torch.equal(parameter, dict(trained_digits().parameters())[name])
    assert weights_digest(recalibrated) != before


def test_it_heals_a_network_whose_statistics_are_lost():
    broken = copy_network(trained_digits())
    with torch.no_grad():
        for name, buffer in broken.module.named_buffers():
            buffer.fill_(7.0 if name.endswith("mean") else 0.5)
    confirm = digits_samples("confirm")
    accuracies = [
        score(predict(network, confirm), "classification").accuracy
        for network in (trained_digits(), broken, recalibrate(broken, digits_samples("calibration")))
    ]
    assert accuracies[1] < accuracies[0] - 30
    assert accuracies[2] > accuracies[0] - 3


def test_statistics_that_are_not_finite_are_replaced():
    broken = copy_network(trained_digits())
    with torch.no_grad():
        for buffer in broken.module.buffers():
            buffer.fill_(float("nan"))
    assert all(torch.isfinite(w).all() for w in weights_of(recalibrate(broken, digits_samples("calibration"))).values())


def test_without_batch_norm_or_without_samples_nothing_changes():
    plain = exported(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), torch.randn(2, 3, 6, 6))
    assert weights_digest(recalibrate(plain, samples_of(photos(), plain))) == weights_digest(plain)
    normed = exported(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), torch.randn(2, 3, 6, 6))
    for few in (0, 1):
        assert weights_digest(recalibrate(normed, samples_of(photos(few), normed))) == weights_digest(normed)
