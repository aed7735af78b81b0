import numpy as np
import pytest
import torch

from service.contract.recipe import Distill, Finetune
from worker.errors import MismatchedDataset
from worker.training.losses import balanced_weights, build_objective

STUDENT = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)
TEACHER = torch.tensor([[3.0, 1.0, 0.0], [0.0, -1.0, 2.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def settings(**changes) -> Finetune:
    return Finetune(**{"distill": None, **changes})


def test_cross_entropy_is_the_mean_negative_log_of_the_right_class():
    objective = build_objective(settings(), "classification", LABELS.numpy(), 3, has_teacher=False)
    by_hand = -np.log(softmax(STUDENT.numpy())[[0, 1], LABELS]).mean()
    assert float(objective(STUDENT, None, LABELS)) == pytest.approx(by_hand)


def test_distillation_is_weight_t_squared_kl_and_the_rest_for_the_labels():
    distill = settings(distill=Distill(weight=0.7, temperature=4.0))
    objective = build_objective(distill, "classification", LABELS.numpy(), 3, has_teacher=True)
    wanted, answered = softmax(TEACHER.numpy() / 4), softmax(STUDENT.numpy() / 4)
    kl = (wanted * np.log(wanted / answered)).sum(1).mean()
    cross_entropy = -np.log(softmax(STUDENT.numpy())[[0, 1], LABELS]).mean()
    by_hand = 0.7 * 16 * kl + 0.3 * cross_entropy
    assert float(objective(STUDENT, TEACHER, LABELS)) == pytest.approx(by_hand)


def test_without_labels_the_teacher_has_all_the_weight():
    objective = build_objective(settings(distill=Distill(weight=0.3)), "unlabelled", None, 3, has_teacher=True)
    all_teacher = build_objective(
        settings(distill=Distill(weight=1.0)), "classification", LABELS.numpy(), 3, has_teacher=True
    )
    assert float(objective(STUDENT, TEACHER, None)) == float(all_teacher(STUDENT, TEACHER, None)) > 0


def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    objective = build_objective(settings(distill=Distill()), "unlabelled", None, 3, has_teacher=True)
    assert float(objective(TEACHER, TEACHER, None)) == pytest.approx(0)


@pytest.mark.parametrize(
    ("task", "outputs", "loss"), [("regression", 3, None), ("unlabelled", 1, None), ("unlabelled", 3, "mse")]
)
def test_outputs_that_are_no_logits_are_imitated_by_squared_error(task, outputs, loss):
    distill = settings(distill=Distill(weight=0.9), loss=loss)
    labels = None if task == "unlabelled" else np.zeros((2, outputs), np.float32)
    objective = build_objective(distill, task, labels, outputs, has_teacher=True)
    student, teacher, wanted = STUDENT[:, :outputs], TEACHER[:, :outputs], torch.zeros(2, outputs)
    by_hand = (student - teacher).square().mean()
    if labels is not None:
        by_hand = 0.9 * by_hand + 0.1 * (student - wanted).square().mean()
    assert float(objective(student, teacher, None if labels is None else wanted)) == pytest.approx(float(by_hand))


def test_balanced_weights_are_inverse_frequencies_that_average_to_one():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balanced_weights(labels, 5)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 0, 10 / 3, 0])
    assert float(weights[labels].mean()) == pytest.approx(1)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_balanced_weights_weigh_the_samples_of_a_batch(loss):
    labels = np.array([0, 0, 0, 2])
    chosen = settings(class_weights="balanced", loss=loss)
    objective = build_objective(chosen, "classification", labels, 3, has_teacher=False)
    plain = build_objective(settings(loss=loss), "classification", labels, 3, has_teacher=False)
    single = [float(plain(STUDENT[i : i + 1], None, LABELS[i : i + 1])) for i in range(2)]
    rare, common = 4 / 2 / 1, 4 / 2 / 3
    by_hand = (common * single[0] + rare * single[1]) / (common + rare)
    assert float(objective(STUDENT, None, LABELS)) == pytest.approx(by_hand, rel=1e-6)


def test_squared_error_on_classes_aims_at_one_and_zero():
    objective = build_objective(settings(loss="mse"), "classification", LABELS.numpy(), 3, has_teacher=False)
    target = np.array([[1, 0, 0], [0, 0, 1]])
    assert float(objective(STUDENT, None, LABELS)) == pytest.approx(((STUDENT.numpy() - target) ** 2).mean())


def test_without_labels_and_without_teacher_there_is_no_objective():
    assert build_objective(settings(), "unlabelled", None, 3, has_teacher=True) is None
    assert build_objective(settings(distill=Distill()), "unlabelled", None, 3, has_teacher=False) is None


def test_cross_entropy_of_real_targets_is_refused():
    with pytest.raises(MismatchedDataset, match="real-valued"):
        build_objective(settings(loss="cross_entropy"), "regression", np.zeros((2, 1), np.float32), 1, False)
