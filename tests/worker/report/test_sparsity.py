"""Sparse results are told as they are."""

import pytest

from service.contract.report import Report
from tests.worker.audit.synthetic import audit_of, structure
from tests.worker.report.examples import benefits, report_of
from tests.worker.report.sparse_example import sparse_benefits, sparse_report, sparsity
from tests.worker.report.test_html import Page
from worker.report.html import render_html
from worker.report.model_card import render_model_card
from worker.report.sparsity import sparsity_finding


@pytest.mark.parametrize(
    ("interval", "ratio", "said"),
    [
        ((0.982, 1.013), 0.997, "Latency did not improve: 100"),
        ((0.97, 0.98), 0.975, "Latency did not improve: 97.5"),
        ((0.80, 0.90), 0.85, "Latency fell: 85.0"),
        ((0.88, 1.04), 0.95, "No improvement of latency is shown: 95.0"),
        ((1.10, 1.20), 1.15, "Latency rose: 115"),
        (None, 0.80, "from too few runs for an interval"),
    ],
)
def test_latency_is_claimed_only_where_the_interval_shows_it(
    interval: tuple[float, float] | None, ratio: float, said: str
) -> None:
    summary = sparsity_finding(sparsity(), sparse_benefits(interval, ratio)).summary
    assert said in summary
    assert ("fell" in summary) == (said.startswith("Latency fell"))


def test_time_saved_by_removed_units_is_not_credited_to_the_zeros() -> None:
    gained = sparse_benefits((0.5, 0.6), 0.55).model_copy(update={"macs": 20_000_000})
    summary = sparsity_finding(sparsity(), gained).summary
    assert "that is the removed units" in summary
    assert "Latency fell" not in summary


def test_the_compressed_size_is_told_against_the_dense_one_compressed_too() -> None:
    found = sparsity_finding(sparsity(), sparse_benefits())
    assert "12.8\u202f% of the size of the dense one compressed the same way" in found.summary
    assert "129\u202fkB instead of 1.01\u202fMB" in found.summary
    assert any("size of model.onnx: 1.09\u202fMB, dense 1.09\u202fMB" in line for line in found.details)


def test_effective_sparsity_and_empty_units_are_told() -> None:
    details = " ".join(sparsity_finding(sparsity(), sparse_benefits()).details)
    kept, useful = (sum(values) for values in zip(*_kept(), strict=True))
    assert f"{kept - useful} weights that are not zero lie on no path" in details
    assert "3 units have no weight left" in details


def _kept() -> list[tuple[int, int]]:
    return [(layer.entries - layer.zeros, layer.contributing or 0) for layer in sparsity().layers if layer.granularity]


def test_the_page_shows_every_layer_and_why_one_stayed_dense() -> None:
    page = Page(render_html(sparse_report()))
    words = " ".join(page.words)
    assert "What sparsity without structure buys" in words
    assert "Zeros by layer" in words
    assert "No unit was removed: all layers have the shapes of the dense network." in words
    for layer in sparsity().layers:
        assert any(f"{layer.name}: {layer.zeros} of {layer.entries} weights are zero" in word for word in page.words)
    assert "because the recipe protects it" in words
    assert "Compressed file" in words
    assert page.open == []


def test_a_job_without_zeros_says_nothing_about_them() -> None:
    words = " ".join(Page(render_html(report_of(audit_of([200] * 10, [0.01] * 10)))).words)
    assert "Zeros by layer" not in words
    assert "Compressed" not in words


def test_the_card_has_the_finding() -> None:
    assert "Latency did not improve" in render_model_card(sparse_report())


def test_the_report_survives_json() -> None:
    report = sparse_report()
    assert Report.model_validate_json(report.model_dump_json(by_alias=True)) == report


def gate(report: Report) -> tuple[str, str]:
    found = next(gate for gate in report.gates if gate.id == "G1")
    return found.status, found.reason


def test_the_structure_gate_judges_the_zeros_that_were_asked_for() -> None:
    status, reason = gate(sparse_report())
    assert status == "PASS"
    assert "% of the weights that take part are zero (asked: at least" in reason
    short = sparsity()
    short = sparsity(zeros=short.zeros - 100, sparsity=(short.zeros - 100) / short.entries)
    status, reason = gate(sparse_report(short))
    assert status == "FAIL"
    assert "were asked for" in reason


def test_a_layer_of_zeros_fails_and_a_torn_network_does_not_pass() -> None:
    found = sparsity()
    layers = [
        layer.model_copy(update={"zeros": layer.entries}) if layer.name == "conv1" else layer for layer in found.layers
    ]
    assert gate(sparse_report(sparsity(layers=layers))) == ("FAIL", "All weights of conv1 are zero.")
    density = 1 - found.sparsity
    assert gate(sparse_report(sparsity(effective=1 - 0.8 * density)))[0] == "INCONCLUSIVE"
    assert gate(sparse_report(sparsity(effective=1 - 0.4 * density)))[0] == "FAIL"
    assert gate(sparse_report(sparsity(effective=None)))[0] == "PASS"


def test_a_prune_of_units_alone_is_judged_as_before() -> None:
    report = report_of(audit_of([400] * 10, [0.005] * 10, gained=0.005, structure=structure()), benefits=benefits())
    assert gate(report)[0] == "PASS"
    assert report.sparsity is None
