"""A report of a made-up sparse job."""

from typing import Any

from service.contract.recipe import Recipe
from service.contract.report import Benefits, FileSize, LayerSparsity, Report, Sparsity
from tests.worker.audit.synthetic import audit_of, structure
from tests.worker.report.examples import benefits, report_of

__all__ = ["sparse_benefits", "sparse_report", "sparsity"]

LAYERS = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "layer2.0.conv2", "linear")


def sparsity(requested: float = 0.9, **changes: Any) -> Sparsity:
    layers = []
    for number, name in enumerate(LAYERS):
        entries = 432 * 2**number
        zeros = round(entries * (requested - 0.1 + 0.03 * number))
        kept = entries - zeros
        layers.append(
            LayerSparsity(
                name=name,
                granularity="unstructured",
                entries=entries,
                zeros=zeros,
                contributing=kept - kept // 50,
                units=16,
                empty_units=number % 2,
                why_dense=None,
            )
        )
    layers.append(
        LayerSparsity(
            name="head", granularity=None, entries=640, zeros=0, contributing=640, units=10, empty_units=0,
            why_dense="the recipe protects it",
        )
    )  # fmt: skip
    parts = layers[:-1]
    entries, zeros = sum(layer.entries for layer in parts), sum(layer.zeros for layer in parts)
    useful = sum(layer.contributing or 0 for layer in parts)
    found: dict[str, Any] = {
        "requested": zeros / entries,
        "entries": entries,
        "zeros": zeros,
        "sparsity": zeros / entries,
        "of_all_parameters": zeros / 28_000,
        "effective": 1 - useful / entries,
        "empty_units": sum(layer.empty_units for layer in layers),
        "layers": layers,
    }
    return Sparsity(**(found | changes))


def sparse_benefits(interval: tuple[float, float] | None = (0.982, 1.013), ratio: float = 0.997) -> Benefits:
    """The dense network with zeros: equal cost, equal size, and the interval of the latency that is given."""
    dense = benefits()
    rows = [
        row.model_copy(
            update={
                "pruned_ms": row.dense_ms * ratio,
                "pruned_iqr_ms": row.dense_iqr_ms,
                "ratio": ratio,
                "ratio_ci95": None if interval is None else list(interval),
            }
        )
        for row in dense.latency
    ]
    return dense.model_copy(
        update={
            "macs": dense.macs_dense,
            "macs_ratio": 1.0,
            "macs_requested": None,
            "params": dense.params_dense,
            "params_ratio": 1.0,
            "onnx": FileSize(name="model.onnx", size_bytes=dense.onnx_dense.size_bytes),
            "compressed": FileSize(name="model.onnx.zst", size_bytes=129_306),
            "compressed_dense": FileSize(name="dense.onnx.zst", size_bytes=1_009_223),
            "latency": rows,
        }
    )


def sparse_report(found: Sparsity | None = None, **changes: Any) -> Report:
    found = found or sparsity()
    recipe = Recipe.model_validate(
        {"target": {"sparsity": found.requested}, "prune": {"granularity": "unstructured", "criterion": "magnitude"}}
    )
    given = audit_of(
        [400] * 10, [0.005] * 10, gained=0.005, recipe=recipe, structure=structure(sparsity=found), macs_ratio=1.0
    )
    return report_of(given, **({"benefits": sparse_benefits()} | changes))
