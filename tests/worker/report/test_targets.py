"""The table of targets."""

from service.contract.report import TargetResult
from tests.worker.audit.synthetic import audit_of
from tests.worker.report.examples import benefits, report_of
from worker.report.html import render_html
from worker.report.model_card import render_model_card
from worker.report.targets import target_rows

THIN = "\u202f"
RESULTS = [
    TargetResult(name="macs", asked=0.5, reached=0.49, limit=0.05, met=True),
    TargetResult(name="size_bytes", asked=500_000, reached=462_114, limit=101_000, met=True),
    TargetResult(name="latency", asked=1.5, reached=1.32, ci95=[1.3, 1.34], limit=0.41, met=True),
    TargetResult(name="speedup", asked=1.8, reached=1.83, ci95=[1.81, 1.84], limit=5.9, met=True),
    TargetResult(name="sparsity", asked=0.5, reached=0.5, met=True),
]


def test_every_target_says_what_was_asked_reached_and_possible_in_its_unit() -> None:
    found = {row.name.split(",")[0]: (row.asked, row.reached, row.interval, row.limit) for row in target_rows(RESULTS)}
    assert found == {
        "MACs": (f"at most 50.0{THIN}%", f"49.0{THIN}%", "", f"5.0{THIN}%"),
        "ONNX file": (f"at most 500{THIN}kB", f"462{THIN}kB", "", f"101{THIN}kB"),
        "latency": (f"at most 1.50{THIN}ms", f"1.32{THIN}ms", f"1.30{THIN}ms to 1.34{THIN}ms", f"0.41{THIN}ms"),
        "speed": ("at least 1.80×", "1.83×", "1.81× to 1.84×", "5.90×"),
        "zeros": (f"at least 50.0{THIN}%", f"50.0{THIN}%", "", "–"),
    }


def test_page_and_card_show_them() -> None:
    report = report_of(
        audit_of([400] * 10, [0.005] * 10, gained=0.005),
        benefits=benefits().model_copy(update={"targets": RESULTS}),
    )
    for text in (render_html(report), render_model_card(report)):
        for shown in ("at least 1.80×", "1.81× to 1.84×", "5.90×", f"at most 500{THIN}kB"):
            assert shown in text
    assert "targets, and how far" not in render_html(report_of(audit_of([400] * 10, [0.005] * 10, gained=0.005)))
