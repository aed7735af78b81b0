"""The report: evidence of the audit, benefits, training, and how to repeat it, put together."""

import json
import shlex
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version

from service import __version__
from service.contract.recipe import Recipe
from service.contract.report import Benefits, ExportCheck, Report, Reproduce, Training
from service.contract.resources import Notice
from worker.audit.audit import Evidence
from worker.report.sparsity import sparsity_finding

__all__ = ["build_report", "software_versions"]

_NAMED = ("torch", "onnx", "onnxruntime", "numpy")


def software_versions() -> dict[str, str]:
    """Of everything that could change a number in the report."""
    found = {"secateur": __version__}
    for name in _NAMED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def build_report(
    *,
    report_id: str,
    created_at: str,
    model: dict[str, str],
    dataset: dict[str, str] | None,
    recipe: Recipe,
    evidence: Evidence,
    benefits: Benefits,
    training: Training,
    export_check: ExportCheck,
    warnings: list[Notice],
    versions: dict[str, str],
) -> Report:
    """Pure: nothing is measured here. `recipe` is resolved; `model` and `dataset` hold `id`, `name`, `sha256`."""
    judged = {field.name: getattr(evidence, field.name) for field in fields(evidence)}
    return Report(
        report_id=report_id,
        created_at=created_at,
        model=model,
        dataset=dataset,
        recipe=recipe,
        **judged,
        benefits=benefits,
        sparsity=None
        if evidence.structure.sparsity is None
        else sparsity_finding(evidence.structure.sparsity, benefits),
        training=training,
        export_check=export_check,
        warnings=warnings,
        reproduce=Reproduce(versions=versions, seed=recipe.seed, command=_command(model, dataset, recipe)),
    )


def _command(model: dict[str, str], dataset: dict[str, str] | None, recipe: Recipe) -> str:
    """The request that repeats the run, quoted for a shell: names in a recipe come from the client."""
    job: dict[str, object] = {"model": model.get("id", "mdl_…")}
    if dataset is not None:
        job["dataset"] = dataset.get("id", "dts_…")
    job["recipe"] = recipe.model_dump(mode="json", exclude_none=True)
    return f'curl --json {shlex.quote(json.dumps(job, ensure_ascii=False))} "$API/v1/jobs"'
