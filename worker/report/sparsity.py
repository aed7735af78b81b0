"""What zeros without structure bought, in words: what was measured, and nothing else."""

from service.contract.report import Benefits, Finding, LatencyRow, Sparsity
from worker.report.numerals import byte_size, percent, quantity, share

__all__ = ["latency_in_words", "sparsity_finding"]

# Less than this is no gain that anybody would feel, however sure it is.
_FELT = 0.05


def sparsity_finding(sparsity: Sparsity, gained: Benefits) -> Finding:
    """The gain in bytes and in time, then direct and effective sparsity."""
    single = next((row for row in gained.latency if row.batch == 1 and row.threads == 1), None)
    summary = [
        f"{_share(sparsity.sparsity)} of the weights that take part are zero ({_share(sparsity.requested)} asked)."
    ]
    if single is not None:
        summary.append(latency_in_words(single, removed_units=gained.macs < gained.macs_dense))
    if gained.compressed is not None and gained.compressed_dense is not None:
        ratio = gained.compressed.size_bytes / max(gained.compressed_dense.size_bytes, 1)
        summary.append(
            f"Compressed, the file has {share(ratio)} of the size of the dense one compressed the same way: "
            f"{byte_size(gained.compressed.size_bytes)} instead of {byte_size(gained.compressed_dense.size_bytes)}."
        )
    return Finding(summary=" ".join(summary), details=_details(sparsity, gained))


def latency_in_words(row: LatencyRow, *, removed_units: bool) -> str:
    """Whether the zeros made it faster. Needs the measured interval; without one nothing is claimed."""
    times = f"{share(row.ratio)} of the dense time in ONNX Runtime, batch {row.batch} on one thread"
    if row.ratio_ci95 is None:
        return f"Latency is {times}, from too few runs for an interval."
    low, high = row.ratio_ci95
    measured = f"{times} (95 % interval {percent(100 * low)} to {percent(100 * high)})"
    if removed_units:
        return (
            f"Latency is {measured}; that is the removed units, for ONNX Runtime multiplies by zeros as by any number."
        )
    if high < 1 - _FELT:
        return f"Latency fell: {measured}."
    if low > 1 + _FELT:
        return f"Latency rose: {measured}. The zeros made nothing faster."
    if low >= 1 - _FELT:
        return f"Latency did not improve: {measured}. ONNX Runtime multiplies by zeros as by any number."
    return f"No improvement of latency is shown: {measured}."


def _details(sparsity: Sparsity, gained: Benefits) -> list[str]:
    nonzero = sparsity.entries - sparsity.zeros
    lines = [
        f"{quantity(sparsity.zeros)} of {quantity(sparsity.entries)} weights are zero, "
        f"{_share(sparsity.of_all_parameters)} of all parameters. The shapes are those of the dense layers, and so are "
        f"the MACs and the size of {gained.onnx.name}: {byte_size(gained.onnx.size_bytes)}, dense "
        f"{byte_size(gained.onnx_dense.size_bytes)}."
        if gained.macs == gained.macs_dense
        else f"{quantity(sparsity.zeros)} of {quantity(sparsity.entries)} weights in what the removed units left are "
        f"zero, {_share(sparsity.of_all_parameters)} of all parameters."
    ]
    if sparsity.effective is not None:
        idle = nonzero - round((1 - sparsity.effective) * sparsity.entries)
        lines.append(
            f"Effective sparsity is {_share(sparsity.effective)}: {idle} weights that are not zero lie on no path from "
            "an input to an output and do nothing."
        )
    if sparsity.empty_units:
        lines.append(
            f"{sparsity.empty_units} units have no weight left and answer with a constant: removing such units as "
            "channels or neurons would make the network smaller and faster."
        )
    return lines


def _share(ratio: float) -> str:
    return percent(100 * ratio, 2 if ratio > 0.99 else 1)
