"""publish: put everything that was found into files, each with its digest."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from service.contract.recipe import Recipe
from service.contract.report import Benefits, ExportCheck, LatencyRow, Report, TargetResult, Training
from service.contract.resources import JobResult, Notice
from worker.audit.audit import Evidence
from worker.order import JobOrder, JobOutcome, MadeFile, UploadFile
from worker.pruning.plan import Plan
from worker.report.build import build_report, software_versions
from worker.report.html import render_html
from worker.report.model_card import render_model_card
from worker.stages.export import Exported

__all__ = ["Findings", "publish"]

_MEDIA_TYPES = {
    ".onnx": "application/octet-stream",
    ".data": "application/octet-stream",
    ".pt2": "application/octet-stream",
    ".zst": "application/zstd",
    ".json": "application/json",
    ".html": "text/html; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
}
_LATENCY_PROVIDER = "CPUExecutionProvider"
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Findings:
    """All that the earlier stages found out."""

    recipe: Recipe
    plan: Plan
    evidence: Evidence
    training: Training
    exported: Exported
    check: ExportCheck
    latency: list[LatencyRow]
    targets: list[TargetResult]
    warnings: list[Notice]


def publish(order: JobOrder, found: Findings) -> JobOutcome:
    """Write report, model card, plan, recipe and manifest next to the models, and list all files."""
    benefits = _benefits(found)
    report = build_report(
        report_id=f"{order.job_id}-{order.attempt}",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=_named(order.model),
        dataset=_named(order.dataset) if order.dataset else None,
        recipe=found.recipe,
        evidence=found.evidence,
        benefits=benefits,
        training=found.training,
        export_check=found.check,
        warnings=found.warnings,
        versions=software_versions(),
    )
    folder = order.output_dir
    _write_json(folder / "plan.json", found.plan)
    _write_json(folder / "recipe.json", found.recipe)
    _write_json(folder / "report.json", report)
    (folder / "report.html").write_text(render_html(report), encoding="utf-8")
    (folder / "model-card.md").write_text(render_model_card(report), encoding="utf-8")
    files = [_made(path) for path in sorted(folder.iterdir())]
    manifest = {"job": order.job_id, "files": [file.model_dump() for file in files]}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return JobOutcome(
        verdict=found.evidence.verdict,
        result=_result(report),
        recipe=found.recipe,
        warnings=found.warnings,
        artifacts=[*files, _made(folder / "manifest.json")],
    )


def _benefits(found: Findings) -> Benefits:
    plan, target = found.plan, found.recipe.target
    onnx, onnx_dense = found.exported.sizes
    compressed, compressed_dense = found.exported.compressed_sizes
    return Benefits(
        targets=found.targets,
        macs=round(plan.macs),
        macs_dense=round(plan.dense_macs),
        macs_ratio=plan.macs_ratio,
        macs_requested=target.macs,
        params=round(plan.params),
        params_dense=round(plan.dense_params),
        params_ratio=plan.params_ratio,
        params_requested=target.params,
        onnx=onnx,
        onnx_dense=onnx_dense,
        compressed=compressed,
        compressed_dense=compressed_dense,
        latency=found.latency,
        latency_provider=_LATENCY_PROVIDER if found.latency else None,
    )


def _result(report: Report) -> JobResult:
    """The report in a nutshell."""
    benefits, against_twin = report.benefits, report.vs_twin
    classes = against_twin.classes if against_twin else []
    worst = max(classes, key=lambda entry: entry.drop.est, default=None)
    single = next((row for row in benefits.latency if row.batch == 1 and row.threads == 1), None)
    accuracy = {arm.arm: arm.accuracy for arm in report.arms}
    return JobResult(
        macs=benefits.macs,
        macs_ratio=benefits.macs_ratio,
        params=benefits.params,
        params_ratio=benefits.params_ratio,
        size_bytes=benefits.onnx.size_bytes,
        dense_size_bytes=benefits.onnx_dense.size_bytes,
        latency_ratio=single.ratio if single else None,
        accuracy=accuracy.get("pruned"),
        accuracy_dense=accuracy.get("dense"),
        accuracy_twin=accuracy.get("twin"),
        worst_class=worst.name if worst else None,
        worst_class_drop=worst.drop.est if worst else None,
        reasons=report.verdict_reasons,
    )


def _named(upload: UploadFile) -> dict[str, str]:
    return {"id": upload.id, "name": upload.name, "sha256": upload.sha256}


def _write_json(path: Path, value: BaseModel) -> None:
    path.write_text(value.model_dump_json(indent=2, by_alias=True) + "\n", encoding="utf-8")


def _made(path: Path) -> MadeFile:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return MadeFile(
        name=path.name,
        media_type=_MEDIA_TYPES[path.suffix],
        size_bytes=path.stat().st_size,
        sha256=digest.hexdigest(),
    )
