"""verify, second half: the targets of the recipe against the files that are shipped."""

from collections.abc import Iterator

from service.contract.recipe import Target
from service.contract.report import LatencyRow, Sparsity, TargetResult
from worker.errors import TargetUnreachable
from worker.export.latency import compare_single, speedup
from worker.pruning.plan import Plan
from worker.stages.export import Exported

__all__ = ["check_targets"]


def check_targets(target: Target, plan: Plan, exported: Exported, sparsity: Sparsity | None) -> list[TargetResult]:
    """What became of every target. Files are weighed and run here, whatever was found while searching.

    Raises TargetUnreachable, with the figures, when one is missed. Sparsity is judged by a gate of the audit.
    """
    results = list(_results(target, plan, exported, sparsity))
    missed = [result for result in results if not result.met and result.name != "sparsity"]
    if missed:
        timed = any(result.ci95 for result in missed)
        why = "two measurements differ, as on a worker that became busy" if timed else "the training changed the file"
        raise TargetUnreachable(
            f"{'; '.join(map(_in_words, missed))}. Its candidate met this while searching: {why}. Ask for a little "
            "less, or run the job again"
        )
    return results


def _results(target: Target, plan: Plan, exported: Exported, sparsity: Sparsity | None) -> Iterator[TargetResult]:
    planned = {each.name: each for each in plan.targets}
    row = _timed(target, exported) if target.latency is not None or target.speedup is not None else None
    for name, asked in target.asked.items():
        if name == "sparsity":
            if sparsity is not None:
                met = sparsity.sparsity >= asked - 1e-9
                yield TargetResult(name=name, asked=asked, reached=sparsity.sparsity, met=met)
            continue
        limit, reached, interval = planned[name].limit, planned[name].reached, None
        if name == "size_bytes":
            reached = exported.onnx.stat().st_size
        elif row is not None and name in ("latency", "speedup"):
            reached, interval = _times(row)[name]
        if name == "speedup":
            met, limit = _worst(reached, interval, 0) >= asked, max(limit, reached)
        else:
            met, limit = _worst(reached, interval, 1) <= asked, min(limit, reached)
        yield TargetResult(name=name, asked=asked, reached=reached, ci95=interval, limit=limit, met=met)


def _timed(target: Target, exported: Exported) -> LatencyRow:
    """Both files in turns, until the interval decides."""

    def decided(row: LatencyRow) -> bool:
        times = _times(row)
        slowest, least_gain = _worst(*times["latency"], 1), _worst(*times["speedup"], 0)
        return (target.latency is None or slowest <= target.latency) and (
            target.speedup is None or least_gain >= target.speedup
        )

    return compare_single(exported.dense_onnx, exported.onnx, decided)


def _times(row: LatencyRow) -> dict[str, tuple[float, list[float] | None]]:
    """Middle and interval of both targets in time."""
    faster = speedup(row)
    return {
        "latency": (row.pruned_ms, row.pruned_ci95_ms or row.pruned_iqr_ms),
        "speedup": (faster.middle, [faster.low, faster.high]),
    }


def _worst(middle: float, interval: list[float] | None, end: int) -> float:
    return interval[end] if interval is not None else middle


def _in_words(result: TargetResult) -> str:
    found = f"{result.name} {result.asked:g} was asked and the exported model has {result.reached:g}"
    return found + (f" (95 % interval {result.ci95[0]:g} to {result.ci95[1]:g})" if result.ci95 else "")
