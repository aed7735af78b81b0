from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from service.contract.recipe import Distill, Finetune, Input
from tests.worker.data.datasets import dataset
from tests.worker.digits import digits_samples, exported, trained_digits, untrained_digits
from worker.data.split_samples import SplitSamples
from worker.data.transform import InputTransform
from worker.errors import TrainingDiverged
from worker.graph.network import Network
from worker.reporter import Silent
from worker.training.checkpoint import CheckpointStore
from worker.training.evaluation import predict, score
from worker.training.loop import Trained, finetune
from worker.training.weights import copy_network, weights_digest, weights_of

PLAIN = Finetune(epochs=3, batch_size=64, learning_rate=0.05, augment=[], distill=None)


def few(samples: int) -> SplitSamples:
    train = digits_samples("train")
    return replace(train, rows=train.rows[:samples])


def run(
    folder: Path,
    settings: Finetune = PLAIN,
    network: Network | None = None,
    teacher: Network | None = None,
    train: SplitSamples | None = None,
    tuning: SplitSamples | None = None,
    **options: Any,
) -> Trained:
    train = few(300) if train is None else train
    return finetune(
        untrained_digits() if network is None else network,
        teacher,
        train,
        tuning,
        settings,
        train.task,
        **{"seed": 0, "arm": "pruned", "checkpoints": CheckpointStore(folder), **options},
    )


def accuracy(network: Network) -> float:
    found = score(predict(network, digits_samples("confirm")), "classification").accuracy
    assert found is not None
    return found


class Listener(Silent):
    """Keeps what it is told, and can end the run at a given sign of life."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.fractions: list[float] = []
        self.events: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._stop_at = stop_at

    def progress(self, fraction: float, message: str) -> None:
        self.fractions.append(fraction)
        if self._stop_at is not None and len(self.fractions) >= self._stop_at:
            raise KeyboardInterrupt

    def event(self, type_: str, message: str, data: dict[str, Any] | None = None, level: str = "info") -> None:
        self.events.append({"type": type_, **(data or {})})

    def warn(self, code: str, detail: str) -> None:
        self.warnings.append(code)


def test_it_learns_to_read_digits():
    assert accuracy(untrained_digits()) < 30
    assert accuracy(trained_digits()) > 95


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr("worker.training.loop._PULSE", 0.0)  # so that there is a sign of life in every step
    settings = PLAIN.model_copy(
        update={"optimizer": optimizer, "augment": ["crop"], "distill": Distill(), "learning_rate": 0.01}
    )
    arguments = {"settings": settings, "teacher": trained_digits(), "tuning": digits_samples("tuning")}
    whole = run(tmp_path / "whole", **arguments)
    for stop_at in (9, 9, 4):  # after the first epoch, in the third, in the third again
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", **arguments, reporter=Listener(stop_at))
    listener = Listener()
    resumed = run(tmp_path / "killed", **arguments, reporter=listener)
    assert resumed.epochs == whole.epochs
    assert weights_digest(resumed.network) == weights_digest(whole.network)
    assert len(listener.events) < 3  # it did not start over


def test_a_finished_run_is_not_repeated(tmp_path):
    first = run(tmp_path)
    listener = Listener()
    again = run(tmp_path, reporter=listener)
    assert again.epochs == first.epochs
    assert weights_digest(again.network) == weights_digest(first.network)
    assert listener.events == []


@pytest.mark.parametrize("change", ["seed", "settings", "network", "data"])
def test_a_checkpoint_of_another_run_is_not_used(tmp_path, change):
    run(tmp_path)
    listener = Listener()
    changed = {
        "seed": {"seed": 1},
        "settings": {"settings": PLAIN.model_copy(update={"weight_decay": 0.0})},
        "network": {"network": trained_digits()},
        "data": {"train": few(200)},
    }[change]
    run(tmp_path, **changed, reporter=listener)
    assert [event["epoch"] for event in listener.events] == [0, 1, 2, 3]


def test_a_damaged_checkpoint_starts_the_run_over(tmp_path):
    whole = run(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    assert weights_digest(run(tmp_path).network) == weights_digest(whole.network)


class Recorded(SplitSamples):
    """Training samples that remember what was asked of them."""

    seen: list[list[int]] = []  # noqa: RUF012  # filled by the test, one list for all instances

    def train_batches(self, *arguments, **options):
        for batch in super().train_batches(*arguments, **options):
            self.seen.append([*batch.rows.tolist(), float(batch.inputs[0].sum())])
            yield batch


def test_twin_and_pruned_see_the_same_views_in_the_same_order(tmp_path):
    samples = few(200)
    recorded = Recorded(samples.dataset, samples.rows, samples.transform, samples.task)
    settings = PLAIN.model_copy(update={"epochs": 2, "augment": ["crop"]})
    orders = []
    for arm, network in (("twin", trained_digits()), ("pruned", untrained_digits())):
        Recorded.seen = []
        run(tmp_path, settings, network, train=recorded, arm=arm)
        orders.append(Recorded.seen)
    assert orders[0] == orders[1]
    assert len(orders[0]) == 8
    assert orders[0][:4] != orders[0][4:]


def test_runs_repeat_by_seed_and_differ_between_seeds(tmp_path):
    digests = [weights_digest(run(tmp_path / str(i), seed=seed).network) for i, seed in enumerate([0, 0, 1])]
    assert digests[0] == digests[1] != digests[2]


def test_neither_the_arguments_nor_the_global_generator_are_touched(tmp_path):
    torch.manual_seed(5)
    before = weights_digest(untrained_digits()), weights_digest(trained_digits()), torch.get_rng_state()
    run(tmp_path, PLAIN.model_copy(update={"distill": Distill()}), teacher=trained_digits())
    assert (weights_digest(untrained_digits()), weights_digest(trained_digits())) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_the_epoch_of_the_best_tuning_accuracy_is_returned(tmp_path):
    tuning = digits_samples("tuning")
    trained = run(tmp_path, tuning=tuning)
    best = max(trained.epochs, key=lambda r: (r.tuning_accuracy, r.worst_recall, -r.tuning_loss))
    assert [record.epoch for record in trained.epochs] == [0, 1, 2, 3]
    assert [record.epoch for record in trained.epochs if record.chosen] == [best.epoch]
    found = score(predict(trained.network, tuning), "classification")
    assert (found.accuracy, found.worst_recall) == (best.tuning_accuracy, best.worst_recall)


def test_training_that_only_harms_returns_the_network_as_it_was(tmp_path):
    train = digits_samples("train")
    assert train.dataset.labels is not None
    wrong = replace(train, dataset=replace(train.dataset, labels=(train.dataset.labels + 1) % 10))
    trained = run(tmp_path, network=trained_digits(), train=wrong, tuning=digits_samples("tuning"))
    assert trained.epochs[0].chosen
    assert weights_digest(trained.network) == weights_digest(trained_digits())


def test_the_best_weights_survive_a_kill_too(tmp_path):
    train = digits_samples("train")
    assert train.dataset.labels is not None
    wrong = replace(train, dataset=replace(train.dataset, labels=(train.dataset.labels + 1) % 10))
    arguments = {"network": trained_digits(), "train": wrong, "tuning": digits_samples("tuning")}

    class KilledAfterOneEpoch(Listener):
        def event(self, type_: str, message: str, data: dict[str, Any] | None = None, level: str = "info") -> None:
            super().event(type_, message, data)
            if len(self.events) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, **arguments, reporter=KilledAfterOneEpoch())
    resumed = run(tmp_path, **arguments)
    assert resumed.epochs[0].chosen
    assert weights_digest(resumed.network) == weights_digest(trained_digits())


@pytest.mark.parametrize("tuning", [None, few(0)])
def test_without_a_tuning_split_the_last_epoch_is_taken(tmp_path, tuning):
    trained = run(tmp_path, tuning=tuning)
    assert [record.epoch for record in trained.epochs if record.chosen] == [3]
    assert trained.epochs[-1].tuning_accuracy is None


def test_distillation_teaches_without_labels(tmp_path):
    unlabelled = {name: replace(digits_samples(name), task="unlabelled") for name in ("train", "tuning")}
    settings = PLAIN.model_copy(update={"distill": Distill(), "epochs": 5})
    trained = run(tmp_path, settings, teacher=trained_digits(), train=unlabelled["train"], tuning=unlabelled["tuning"])
    assert accuracy(trained.network) > 85
    assert trained.epochs[-1].tuning_loss < trained.epochs[0].tuning_loss / 5
    assert trained.epochs[-1].tuning_accuracy is None


def test_real_targets_are_learnt(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 5)).astype(np.float32)
    data = dataset(x=features, labels=features @ rng.normal(size=5) + 3)
    torch.manual_seed(0)
    network = exported(nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1)), torch.randn(2, 5))
    transform = InputTransform.build(Input(), data, network.inputs)
    train = SplitSamples(data, np.arange(300), transform, "regression")
    tuning = SplitSamples(data, np.arange(300, 400), transform, "regression")
    settings = PLAIN.model_copy(update={"epochs": 20, "learning_rate": 0.02})
    trained = run(tmp_path, settings, network, train=train, tuning=tuning)
    losses = [record.tuning_loss for record in trained.epochs]
    assert min(losses) < 0.05 * losses[0]
    assert next(record.tuning_loss for record in trained.epochs if record.chosen) == min(losses)


def test_a_loss_that_is_not_a_number_names_epoch_step_rate_and_advice(tmp_path):
    train = few(300)
    transform = InputTransform.build(Input(), dataset(x=np.zeros((1, 8, 8), np.float32)), untrained_digits().inputs)
    images = train.dataset.arrays["x"].astype(np.float32)
    images[train.rows[7]] = np.nan
    broken = replace(train, dataset=replace(train.dataset, arrays={"x": images}), transform=transform)
    with pytest.raises(TrainingDiverged, match=r"loss became nan in epoch 1, step \d, at learning rate 0\.0\d+: "):
        run(tmp_path, train=broken)


def test_a_learning_rate_far_too_large_ends_the_run(tmp_path):
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)]
    network = exported(nn.Sequential(*layers), torch.randn(2, 1, 8, 8))
    settings = PLAIN.model_copy(update={"learning_rate": 10.0, "epochs": 20})
    with pytest.raises(TrainingDiverged, match=r"epoch \d+, step \d+, at learning rate .* try finetune.learning_rate"):
        run(tmp_path, settings, network)


def test_a_network_that_answers_nan_is_named_before_any_training(tmp_path):
    broken = copy_network(untrained_digits())
    with torch.no_grad():
        next(iter(weights_of(broken).values())).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="before any training"):
        run(tmp_path, network=broken, tuning=digits_samples("tuning"))


def test_zero_epochs_return_the_network_with_its_score(tmp_path):
    trained = run(tmp_path, PLAIN.model_copy(update={"epochs": 0}), trained_digits(), tuning=digits_samples("tuning"))
    assert weights_digest(trained.network) == weights_digest(trained_digits())
    assert [(record.epoch, record.chosen) for record in trained.epochs] == [(0, True)]
    assert trained.epochs[0].tuning_accuracy > 90


@pytest.mark.parametrize(
    ("train", "settings", "warning"),
    [
        (few(0), PLAIN, "no-training-data"),
        (few(1), PLAIN, "no-training-data"),
        (replace(few(50), task="unlabelled"), PLAIN, "nothing-to-learn-from"),
    ],
)
def test_where_nothing_can_be_learnt_it_warns_and_leaves_the_network(tmp_path, train, settings, warning):
    listener = Listener()
    trained = run(tmp_path, settings, train=train, reporter=listener)
    assert listener.warnings == [warning]
    assert weights_digest(trained.network) == weights_digest(untrained_digits())


def test_progress_rises_to_one_and_every_epoch_is_an_event(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.training.loop._PULSE", 0.0)
    listener = Listener()
    run(tmp_path, tuning=digits_samples("tuning"), reporter=listener)
    assert listener.fractions == sorted(listener.fractions)
    assert listener.fractions[0] == 0.0
    assert listener.fractions[-1] == 1.0
    assert len(listener.fractions) > 15  # 3 epochs of 5 updates
    assert [(event["type"], event["epoch"]) for event in listener.events] == [("metrics", i) for i in range(4)]


def test_the_result_is_in_inference_mode_and_alone(tmp_path):
    trained = run(tmp_path)
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(trained.network(images)[0], trained.network(images)[0])
    assert torch.allclose(trained.network(images[:1])[0], trained.network(images)[0][:1], atol=1e-5)
