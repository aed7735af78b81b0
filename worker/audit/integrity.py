"""G0 and G1: can this audit be believed, and is the pruned network whole?"""

from collections.abc import Sequence

from service.contract.recipe import Target
from service.contract.report import Comparison, Gate, Sparsity, SplitInfo, Structure
from worker.audit.wording import listing, points, sentence

__all__ = ["integrity_gate", "structure_gate"]

# A share of dead channels this far above the dense model's is damage, not style.
_MORE_DEAD = 0.05
# Budgets are met in whole blocks of channels; what rounding leaves above this is a miss.
_TARGET_TOLERANCE = 1e-6
# Shares of the weights left that still do something; below the lower one the network has come apart.
_MOSTLY_USEFUL, _HALF_USEFUL = 0.9, 0.5


def integrity_gate(
    itself: Comparison | None,
    comparisons: Sequence[Comparison],
    splits: dict[str, SplitInfo | None],
    disjoint: bool,
    broken_answers: dict[str, int],
) -> Gate:
    """G0. `itself` is the dense network against itself, computed like any other comparison."""
    if itself is None:
        return Gate(id="G0", title="Integrity of the audit", status="NOT_RUN", reason="No data: nothing to check.")
    faults = [f"the {arm} network answers NaN or infinity on {k} samples" for arm, k in broken_answers.items() if k]
    if not _is_silent(itself):
        faults.append("comparing the dense network with itself shows a difference")
    if not all(_adds_up(comparison) for comparison in comparisons):
        faults.append("negative minus positive flips is not the accuracy drop")
    # Calibration samples are taken from the training split; in a small dataset they are all of it.
    digests = [
        split.sha256 for name, split in splits.items() if split is not None and split.n and name != "calibration"
    ]
    if not disjoint or len(set(digests)) < len(digests):
        faults.append("the splits share samples, so the confirm split is not unseen")
    if faults:
        reason = f"The audit cannot be believed: {listing(faults)}."
        return Gate(id="G0", title="Integrity of the audit", status="FAIL", reason=reason)
    reason = (
        "The dense network against itself shows no change and p = 1 everywhere, flips add up to the drop, "
        "and the splits share no sample."
    )
    return Gate(id="G0", title="Integrity of the audit", status="PASS", reason=reason)


def _is_silent(itself: Comparison) -> bool:
    if itself.disagreement or itself.kl or itself.mse:
        return False
    return all(
        row.mcnemar.p_holm == 1.0 and row.relative_test.p_holm == 1.0 and row.lost == row.gained == 0
        for row in itself.classes
    )


def _adds_up(comparison: Comparison) -> bool:
    if comparison.negative_flips is None or comparison.positive_flips is None or comparison.drop is None:
        return True
    assert comparison.accuracy is not None
    assert comparison.accuracy_ref is not None
    net = comparison.negative_flips - comparison.positive_flips
    lost = comparison.accuracy_ref - comparison.accuracy
    return abs(net - comparison.drop.est) < 1e-6 and abs(net - lost) < 1e-6


def structure_gate(structure: Structure, target: Target, macs_ratio: float, params_ratio: float) -> Gate:
    """G1. Ratios are pruned ÷ dense."""
    title = "Structure and target"
    sparsity = structure.sparsity
    faults = []
    if structure.empty_layers:
        faults.append(f"nothing is left of {listing(structure.empty_layers)}")
    if sparsity is not None:
        faults += _sparsity_faults(sparsity, target)
    for name, asked, got in (("MACs", target.macs, macs_ratio), ("parameters", target.params, params_ratio)):
        if asked is not None and got > asked + _TARGET_TOLERANCE:
            faults.append(f"{points(100 * got)} % of the {name} are left, {points(100 * asked)} % were asked for")
    if faults:
        return Gate(id="G1", title=title, status="FAIL", reason=f"{sentence(listing(faults))}.")
    kept, before = (sum(getattr(layer, field) for layer in structure.layers) for field in ("channels_kept", "channels"))
    dead, dead_dense = structure.dead_channels / max(kept, 1), structure.dead_channels_dense / max(before, 1)
    if dead > dead_dense + _MORE_DEAD:
        reason = (
            f"{structure.dead_channels} of {kept} channels never answer on the calibration split "
            f"({points(100 * dead)} %, dense {points(100 * dead_dense)} %): they cost time and do nothing."
        )
        return Gate(id="G1", title=title, status="INCONCLUSIVE", reason=reason)
    if (
        sparsity is not None
        and sparsity.effective is not None
        and _useful(sparsity, sparsity.effective) < _MOSTLY_USEFUL
    ):
        idle = 100 * (1 - _useful(sparsity, sparsity.effective))
        reason = (
            f"{points(idle)} % of the weights that are not zero lie on no path from an input to an output: "
            "the zeros have cut the network in places where it looks whole."
        )
        return Gate(id="G1", title=title, status="INCONCLUSIVE", reason=reason)
    met = [
        f"{points(100 * got)} % of the {name} (asked: at most {points(100 * asked)} %)"
        for name, asked, got in (("MACs", target.macs, macs_ratio), ("parameters", target.params, params_ratio))
        if asked is not None
    ]
    parts = [f"what is left: {listing(met)}"] if met else []
    if sparsity is not None and target.sparsity is not None:
        parts.append(
            f"{points(100 * sparsity.sparsity)} % of the weights that take part are zero (asked: at least "
            f"{points(100 * target.sparsity)} %)"
        )
    return Gate(id="G1", title=title, status="PASS", reason=f"{'; '.join(['No layer is empty', *parts])}.")


def _sparsity_faults(sparsity: Sparsity, target: Target) -> list[str]:
    faults = []
    empty = [layer.name for layer in sparsity.layers if layer.zeros == layer.entries]
    if empty:
        faults.append(f"all weights of {listing(empty)} are zero")
    if target.sparsity is not None and sparsity.sparsity < target.sparsity - _TARGET_TOLERANCE:
        faults.append(
            f"{points(100 * sparsity.sparsity)} % of the weights that take part are zero, "
            f"{points(100 * target.sparsity)} % were asked for"
        )
    if sparsity.effective is not None and _useful(sparsity, sparsity.effective) < _HALF_USEFUL:
        faults.append(
            f"only {points(100 * _useful(sparsity, sparsity.effective))} % of the weights that are not zero lie on a "
            "path from an input to an output"
        )
    return faults


def _useful(sparsity: Sparsity, effective: float) -> float:
    """Effective ÷ direct density."""
    return (1 - effective) * sparsity.entries / max(sparsity.entries - sparsity.zeros, 1)
