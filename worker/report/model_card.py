"""`MODEL_CARD.md`: the report in a page of Markdown, to lie beside the model."""

import re

from service.contract.report import Report
from worker.audit.wording import shorten
from worker.report.html import headline
from worker.report.numerals import byte_size, percent, quantity, share, signed
from worker.report.targets import target_rows

__all__ = ["render_model_card"]


def render_model_card(report: Report) -> str:
    """Short on purpose; `report.html` has the rest. Source: Mitchell et al., Model Cards, FAT* 2019."""
    gained = report.benefits
    lines = [
        f"# {_plain(shorten(report.model.get('name', 'model')))}, pruned",
        "",
        f"**{report.verdict}.** {_plain(headline(report))}",
        "",
        *(f"- {_plain(reason)}" for reason in report.verdict_reasons),
        "",
        "## What it is",
        "",
        "| | dense | pruned | left |",
        "|---|---:|---:|---:|",
        f"| MACs | {quantity(gained.macs_dense)} | {quantity(gained.macs)} | {share(gained.macs_ratio)} |",
        f"| parameters | {quantity(gained.params_dense)} | {quantity(gained.params)} | {share(gained.params_ratio)} |",
        f"| ONNX file | {byte_size(gained.onnx_dense.size_bytes)} | {byte_size(gained.onnx.size_bytes)} "
        f"| {share(gained.onnx.size_bytes / max(gained.onnx_dense.size_bytes, 1))} |",
        "",
        *_targets(report),
        *([_plain(report.sparsity.summary), ""] if report.sparsity else []),
        f"Criterion `{report.recipe.prune.criterion}`, treatment: {', '.join(report.training.treatment) or 'none'}, "
        f"seed {report.recipe.seed}.",
        "",
        *_quality(report),
        "## Not assessed",
        "",
        *(f"- **{_plain(row.what)}.** {_plain(row.why)} Needs: {_plain(row.needs)}" for row in report.not_assessed),
        "",
        f"Report `{_plain(report.report_id)}`, {_plain(report.created_at)}. The whole evidence is in `report.html` and "
        "`report.json`.",
        "",
    ]
    return "\n".join(lines)


def _targets(report: Report) -> list[str]:
    rows = [
        f"| {row.name} | {row.asked} | {row.reached}{f' ({row.interval})' if row.interval else ''} | {row.limit} |"
        for row in target_rows(report.benefits.targets)
    ]
    return ["| target | asked | reached | limit |", "|---|---:|---:|---:|", *rows, ""] if rows else []


def _quality(report: Report) -> list[str]:
    twin = report.vs_twin
    if twin is None:
        return []
    lines = ["## How it answers", ""]
    if twin.accuracy is not None and twin.drop is not None:
        lines += ["| | accuracy | generalization gap |", "|---|---:|---:|"]
        lines += [f"| {arm.arm} | {percent(arm.accuracy)} | {signed(arm.generalization_gap)} |" for arm in report.arms]
        lines += [
            "",
            f"{twin.n} samples that decided nothing else. The twin is the dense network after the same treatment.",
        ]
    elif twin.r2 is not None:
        lines.append(f"R² {percent(twin.r2_ref)} for the twin, {percent(twin.r2)} pruned, on {twin.n} samples.")
    for finding in (report.loss_of_information, report.bias, report.sensitivity, report.generalization):
        lines += ["", f"- {_plain(finding.summary)}"]
    return [*lines, ""]


def _plain(text: str) -> str:
    """Uploaded names must not become markup: one line, and every character that Markdown or HTML reads is escaped."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&!])", r"\\\1", " ".join(text.split()))
