"""Zeros stay zero while the network learns."""

from typing import Any

import pytest
import torch

from service.contract.recipe import Distill, Finetune
from tests.worker.digits import digits_samples, trained_digits, untrained_digits
from tests.worker.training.test_loop import Listener, few, run
from worker.training.checkpoint import CheckpointStore
from worker.training.evaluation import predict, score
from worker.training.loop import finetune
from worker.training.masks import Masks, ZeroKeeper, masked
from worker.training.movement import Movement
from worker.training.weights import weights_digest, weights_of


def some_masks(share: float = 0.5) -> Masks:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(weight.shape, generator=generator) >= share
        for name, weight in weights_of(trained_digits()).items()
        if weight.dim() > 1
    }


PLAIN = Finetune(epochs=3, batch_size=64, learning_rate=0.05, weight_decay=0.01, augment=[], distill=None)
SETTINGS = {
    "sgd": PLAIN,
    "adamw": PLAIN.model_copy(
        update={"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "distill": Distill()}
    ),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_masked_weights_stay_exactly_zero_and_the_others_learn(tmp_path, optimizer):
    masks = some_masks()
    start = masked(trained_digits(), masks)
    trained = run(tmp_path, SETTINGS[optimizer], start, trained_digits(), tuning=digits_samples("tuning"), masks=masks)
    before, after = weights_of(start), weights_of(trained.network)
    for name, mask in masks.items():
        assert (after[name][~mask] == 0).all()
        assert not torch.equal(after[name], before[name])
        assert (after[name][mask] != 0).all()
    accuracies = [
        score(predict(n, digits_samples("confirm")), "classification").accuracy for n in (start, trained.network)
    ]
    assert accuracies[1] > accuracies[0] + 5, accuracies


def test_a_network_that_is_not_masked_yet_starts_masked(tmp_path):
    masks = some_masks()
    options: dict[str, Any] = {"masks": masks, "tuning": digits_samples("tuning")}
    from_dense = run(tmp_path / "dense", SETTINGS["sgd"], trained_digits(), **options)
    from_sparse = run(tmp_path / "sparse", SETTINGS["sgd"], masked(trained_digits(), masks), **options)
    assert from_dense.epochs == from_sparse.epochs
    assert weights_digest(from_dense.network) == weights_digest(from_sparse.network)


def test_without_masks_nothing_changes(tmp_path):
    plain = run(tmp_path / "plain", SETTINGS["sgd"])
    empty = run(tmp_path / "empty", SETTINGS["sgd"], masks={})
    assert weights_digest(plain.network) == weights_digest(empty.network)


def test_a_killed_sparse_run_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.training.loop._PULSE", 0.0)
    masks, whole_movement, movement = some_masks(), Movement(), Movement()
    whole = run(
        tmp_path / "whole", SETTINGS["adamw"], trained_digits(), trained_digits(), masks=masks, movement=whole_movement
    )
    for stop_at in (8, 9, 4):
        with pytest.raises(KeyboardInterrupt):
            run(
                tmp_path / "killed", SETTINGS["adamw"], trained_digits(), trained_digits(), masks=masks,
                movement=movement, reporter=Listener(stop_at),
            )  # fmt: skip
    resumed = run(
        tmp_path / "killed", SETTINGS["adamw"], trained_digits(), trained_digits(), masks=masks, movement=movement
    )
    assert weights_digest(resumed.network) == weights_digest(whole.network)
    assert movement.scores.keys() == whole_movement.scores.keys()
    assert all(torch.equal(movement.scores[name], value) for name, value in whole_movement.scores.items())


def test_a_checkpoint_of_other_masks_is_not_used(tmp_path):
    run(tmp_path, SETTINGS["sgd"], trained_digits(), masks=some_masks(0.5))
    other = some_masks(0.2)
    trained = run(tmp_path, SETTINGS["sgd"], trained_digits(), masks=other)
    assert all((weights_of(trained.network)[name][mask] != 0).all() for name, mask in other.items())


def test_movement_is_minus_weight_times_gradient_summed_over_updates(tmp_path):
    """One update of plain SGD: w' = w − rate · g gives the gradient, and so the score."""
    settings = Finetune(
        epochs=1, batch_size=64, learning_rate=0.1, momentum=0.0, weight_decay=0.0, warmup=0.0, augment=[], distill=None
    )
    movement = Movement()
    trained = run(tmp_path, settings, trained_digits(), train=few(64), movement=movement)
    before, after = weights_of(trained_digits()), weights_of(trained.network)
    for name in ("conv1.weight", "head.weight", "norm1.weight"):
        gradient = (before[name] - after[name]) / 0.1
        assert torch.allclose(movement.scores[name], -before[name] * gradient, atol=1e-6)
        assert movement.scores[name].abs().max() > 1e-5


def test_movement_says_nothing_about_what_is_zero(tmp_path):
    masks, movement = some_masks(), Movement()
    run(tmp_path, SETTINGS["sgd"], trained_digits(), masks=masks, movement=movement)
    assert all((movement.scores[name][~mask] == 0).all() for name, mask in masks.items())


def test_each_round_starts_its_movement_anew(tmp_path):
    movement = Movement({"left over": torch.ones(3)})
    arguments = (
        untrained_digits(),
        None,
        few(300),
        None,
        SETTINGS["sgd"].model_copy(update={"epochs": 0}),
        "classification",
        0,
    )
    finetune(*arguments, "pruned", CheckpointStore(tmp_path), movement=movement)
    assert movement.scores == {}


def test_a_mask_of_another_network_is_refused():
    with pytest.raises(ValueError, match="nowhere"):
        ZeroKeeper(trained_digits(), {"nowhere": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(ValueError, match="has shape"):
        ZeroKeeper(trained_digits(), {"head.weight": torch.ones(1, dtype=torch.bool)})


def test_infinite_gradients_do_not_bring_a_zero_back():
    network = masked(trained_digits(), {})
    mask = torch.zeros_like(weights_of(network)["head.weight"], dtype=torch.bool)
    keeper = ZeroKeeper(network, {"head.weight": mask})
    weight = dict(network.parameters())["head.weight"]
    weight.grad = torch.full_like(weight, torch.inf)
    keeper.zero_gradients()
    keeper.zero_weights()
    assert (weight.grad == 0).all()
    assert (weight == 0).all()
