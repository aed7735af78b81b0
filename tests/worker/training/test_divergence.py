import pytest
import torch

from tests.worker.digits import untrained_digits
from worker.errors import TrainingDiverged
from worker.training.divergence import DivergenceGuard, check_weights
from worker.training.weights import copy_network


def watch_all(guard: DivergenceGuard, losses: list[float]) -> None:
    for step, loss in enumerate(losses, start=1):
        guard.watch(loss, epoch=2, step=step, rate=0.1)


def test_a_single_odd_batch_is_borne_and_a_lasting_rise_is_not():
    guard = DivergenceGuard(2.0)
    watch_all(guard, [2.0, 1.5, 60.0, 1.4, 1.2])
    said = r"rose to 60, from 2 at the start in epoch 2, step \d, at learning rate 0\.1"
    with pytest.raises(TrainingDiverged, match=said):
        watch_all(guard, [60.0] * 9)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_at_once(loss):
    with pytest.raises(TrainingDiverged, match=r"try finetune\.learning_rate 0\.02"):
        DivergenceGuard(2.0).watch(loss, epoch=3, step=1, rate=0.2)


def test_before_any_update_the_samples_are_the_suspects():
    with pytest.raises(TrainingDiverged, match="samples hold no NaN"):
        DivergenceGuard(2.0).watch(float("nan"), epoch=1, step=1, rate=0.2)


@pytest.mark.parametrize("name", ["conv1.weight", "norm2.running_var"])
def test_a_weight_or_statistic_that_is_not_finite_is_named(name):
    network = copy_network(untrained_digits())
    check_weights(network, epoch=1, step=5, rate=0.1)
    with torch.no_grad():
        network.module.state_dict()[name].view(-1)[0] = float("inf")
    with pytest.raises(TrainingDiverged, match=f"`{name}` holds NaN or infinite"):
        check_weights(network, epoch=1, step=5, rate=0.1)
