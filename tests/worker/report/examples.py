"""Reports of made-up jobs, whole enough to be looked at."""

import numpy as np

from service.contract.recipe import Recipe
from service.contract.report import Benefits, EpochRecord, ExportCheck, FileSize, LatencyRow, Report, Training
from service.contract.resources import Notice
from worker.audit.audit import AuditInputs, audit
from worker.report.build import build_report

VERSIONS = {"secateur": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.31.0", "numpy": "2.4.0"}


def benefits() -> Benefits:
    def row(batch: int, threads: int, dense: float, pruned: float) -> LatencyRow:
        return LatencyRow(
            batch=batch,
            threads=threads,
            dense_ms=dense,
            pruned_ms=pruned,
            dense_iqr_ms=[dense * 0.97, dense * 1.05],
            pruned_iqr_ms=[pruned * 0.97, pruned * 1.06],
            ratio=pruned / dense,
            runs=60,
        )

    return Benefits(
        macs=20_012_345,
        macs_dense=40_816_842,
        macs_ratio=20_012_345 / 40_816_842,
        macs_requested=0.5,
        params=111_322,
        params_dense=269_722,
        params_ratio=111_322 / 269_722,
        params_requested=None,
        onnx=FileSize(name="model.onnx", size_bytes=462_114),
        onnx_dense=FileSize(name="dense.onnx", size_bytes=1_093_882),
        latency=[row(1, 1, 2.41, 1.32), row(1, 2, 1.62, 0.98), row(32, 1, 61.3, 33.1), row(32, 2, 33.0, 18.7)],
        latency_provider="CPUExecutionProvider",
    )


def training(epochs: int = 12) -> Training:
    random = np.random.default_rng(0)
    records = []
    for arm, best, start in (("twin", 91.4, 90.2), ("pruned", 90.1, 71.5)):
        for epoch in range(epochs + 1):
            accuracy = best - (best - start) * 0.65**epoch + float(random.normal(0, 0.15))
            records.append(
                EpochRecord(
                    arm=arm,  # type: ignore[arg-type]  # one of the two names above
                    epoch=epoch,
                    learning_rate=0.01 * (1 - epoch / (epochs + 1)),
                    train_loss=None if epoch == 0 else 0.2,
                    tuning_loss=(100 - accuracy) / 28,
                    tuning_accuracy=accuracy,
                    worst_recall=accuracy - 9,
                    chosen=epoch == epochs - 1,
                )
            )
    return Training(treatment=["recalibrate", "finetune", "distill"], epochs=records, recalibration_samples=2560)


def report_of(given: AuditInputs, **changes: object) -> Report:
    parts: dict[str, object] = {
        "report_id": "rep_01jd3x5k7m9p2q4s6t8v0w1y3z",
        "created_at": "2026-07-14T09:21:07Z",
        "model": {"id": "mdl_01jd3x5k7m9p2q4s6t8v0w1y3z", "name": "resnet20", "sha256": "8f2c" * 16},
        "dataset": {"id": "dts_01jd3x5k7m9p2q4s6t8v0w1y40", "name": "cifar10", "sha256": "51ab" * 16},
        "recipe": Recipe.model_validate(given.recipe.model_dump()),
        "evidence": audit(given),
        "benefits": benefits(),
        "training": training(),
        "export_check": ExportCheck(
            opset=20, max_abs_error=4.1e-6, max_rel_error=9.7e-7, accuracy=None, agrees_with_torch=100.0
        ),
        "warnings": [Notice(code="flip-not-used", detail="Mirroring changes the dense model's answers; not used.")],
        "versions": VERSIONS,
    }
    return build_report(**(parts | changes))  # type: ignore[arg-type]  # keyword names are checked by the function
