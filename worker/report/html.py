"""`report.html`: one file, no network, no script, light and dark, from a phone to paper.

Every name in a report may come from an upload, so everything is escaped and the page forbids itself all loading.
"""

import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.contract.report import Report
from service.contract.resources import Verdict
from worker.audit.wording import shorten
from worker.report import numerals
from worker.report.class_chart import class_chart
from worker.report.layer_chart import layer_chart
from worker.report.targets import target_rows
from worker.report.training_chart import training_charts
from worker.report.zeros_chart import zeros_chart

__all__ = ["headline", "render_html"]

_GLYPHS: dict[Verdict, str] = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "NOT_RUN": "–"}
_WORDS: dict[Verdict, str] = {
    "PASS": "Pass",
    "FAIL": "Fail",
    "INCONCLUSIVE": "Inconclusive",
    "NOT_RUN": "Not run",
}
# Longer layer lists are folded away until they are asked for.
_LAYERS_AT_ONCE = 30


def render_html(report: Report) -> str:
    """The page as text. Pure: the same report gives the same bytes."""
    twin = report.vs_twin
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            headline=headline(report),
            reference=next((row for row in report.benefits.latency if row.batch == 1 and row.threads == 1), None)
            or next(iter(report.benefits.latency), None),
            classes=class_chart(twin.classes, report.recipe.audit.margins.per_class) if twin and twin.classes else None,
            layers=layer_chart(report.structure.layers),
            layers_at_once=_LAYERS_AT_ONCE,
            targets=target_rows(report.benefits.targets),
            zeros=zeros_chart(report.structure.sparsity) if report.structure.sparsity else [],
            charts=training_charts(report.training),
            recipe=json.dumps(report.recipe.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False),
            glyphs=_GLYPHS,
            words=_WORDS,
        )
    )


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    if report.verdict == "PASS":
        return "Pruned, and shown to answer as well as before within the margins."
    if report.verdict == "FAIL":
        failed = {gate.id for gate in report.gates if gate.required and gate.status == "FAIL"}
        harmed = [row.name for row in report.vs_twin.classes if row.status == "FAIL"] if report.vs_twin else []
        if "G0" in failed:
            return "This audit cannot be believed: its own checks failed."
        if len(harmed) == 1:
            return f"Pruning harmed one class: {shorten(harmed[0])}."
        if harmed:
            return f"Pruning harmed {len(harmed)} classes."
        if failed & {"G3", "G4"}:
            return "Pruning fell on some classes harder than on others."
        if "G2" in failed:
            lost = "explained variance" if report.task == "regression" else "accuracy"
            return f"Pruning cost more {lost} than the margin allows."
        return "The pruned network is not what was asked for."
    if report.evidence_tier == 0:
        return "Pruned, and nobody can say yet what it cost: there was no data."
    if report.evidence_tier == 1:
        return "Pruned, and its answers were compared, but without labels nobody can say which are right."
    return "No harm is proven, and neither is its absence: there is too little evidence."


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("worker.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {name: getattr(numerals, name) for name in numerals.__all__}
    environment.filters.update(filters, shorten=shorten)
    return environment
