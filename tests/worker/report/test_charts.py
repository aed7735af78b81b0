import pytest

from service.contract.report import Training
from tests.worker.audit.synthetic import audit_of
from tests.worker.report.examples import training
from worker.audit.audit import audit
from worker.report.class_chart import ClassChart, class_chart
from worker.report.training_chart import training_charts


def chart(sizes: list[int], lost: list[float]) -> ClassChart:
    comparison = audit(audit_of(sizes, lost)).vs_twin
    assert comparison is not None
    return class_chart(comparison.classes, 5.0)


def test_the_worst_class_comes_first_and_lies_left_of_the_margin() -> None:
    drawn = chart([200] * 4, [0.01, 0.01, 0.25, 0.01])
    assert drawn.rows[0].data.id == 2
    assert drawn.rows[0].low <= drawn.rows[0].point < drawn.margin < drawn.zero == 50.0


def test_marks_stay_in_the_plot_and_say_when_they_were_cut() -> None:
    drawn = chart([500] * 9 + [5], [0.01] * 10)
    tiny = next(row for row in drawn.rows if row.data.n == 5)
    assert (tiny.low, tiny.high) == (0.0, 100.0)
    assert tiny.cut_low
    assert tiny.cut_high
    assert not tiny.shows_rate


def test_ticks_are_round_few_and_symmetric() -> None:
    drawn = chart([200] * 4, [0.01] * 4)
    assert 3 <= len(drawn.ticks) <= 7
    assert [tick.at for tick in drawn.ticks] == pytest.approx([100 - tick.at for tick in reversed(drawn.ticks)])
    assert drawn.ticks[len(drawn.ticks) // 2].label == "0"


def test_two_curves_that_end_together_have_labels_apart() -> None:
    accuracy = training_charts(training())[0]
    assert [curve.arm for curve in accuracy.curves] == ["twin", "pruned"]
    assert abs(accuracy.curves[0].end - accuracy.curves[1].end) >= 14


def test_without_epochs_there_is_no_curve() -> None:
    assert training_charts(training(epochs=0)) == []
    assert training_charts(Training(treatment=[], epochs=[], recalibration_samples=0)) == []
