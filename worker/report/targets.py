"""What was asked and what is there, target by target, as people read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.contract.report import TargetResult
from worker.report.numerals import byte_size, milliseconds, share

__all__ = ["TargetRow", "target_rows"]

_NAMES = {
    "macs": "MACs",
    "params": "parameters",
    "size_bytes": "ONNX file",
    "memory_bytes": "memory of activations",
    "latency": "latency, batch 1, one thread",
    "speedup": "speed, batch 1, one thread",
    "sparsity": "zeros",
}
_AT_LEAST = frozenset({"speedup", "sparsity"})


@dataclass(frozen=True)
class TargetRow:
    """Text for each cell; `interval` is empty and `limit` a dash where there is none."""

    name: str
    asked: str
    reached: str
    interval: str
    limit: str
    met: bool


def target_rows(results: Sequence[TargetResult]) -> list[TargetRow]:
    """The rows of the table of targets."""
    return [
        TargetRow(
            name=_NAMES.get(result.name, result.name),
            asked=f"{'at least' if result.name in _AT_LEAST else 'at most'} {_value(result.name, result.asked)}",
            reached=_value(result.name, result.reached),
            interval=" to ".join(_value(result.name, end) for end in result.ci95) if result.ci95 else "",
            limit="–" if result.limit is None else _value(result.name, result.limit),
            met=result.met,
        )
        for result in results
    ]


def _value(name: str, value: float) -> str:
    match name:
        case "size_bytes" | "memory_bytes":
            return byte_size(value)
        case "latency":
            return milliseconds(value)
        case "speedup":
            return f"{value:.2f}×"
        case _:
            return share(value)
