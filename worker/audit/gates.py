"""G2, G3, G4 and G7: the gates that need labels. They judge pruned against its control twin.

Three values each. FAIL needs statistical *and* practical significance, PASS needs proof of non-inferiority, and what is
neither is INCONCLUSIVE, with the number of samples that would settle it. Naming a class takes Holm's correction;
passing does not, because every class has to pass (an intersection-union test; Berger, Technometrics 24, 1982).
"""

from service.contract.recipe import Audit
from service.contract.report import ClassComparison, Comparison, Drop, Gate
from service.contract.resources import Verdict
from worker.audit.calibration import CalibrationChange
from worker.audit.power import minimum_samples_to_pass, samples_to_narrow, samples_to_pass
from worker.audit.wording import (
    about,
    change_in_words,
    class_title,
    interval,
    listing,
    loss_in_words,
    points,
    probability,
    sentence,
    signed,
)

__all__ = ["CALIBRATION_MARGIN", "accuracy_gate", "calibration_gate", "class_gate", "regression_gate", "relative_gate"]

# Points of expected calibration error; a default of this policy, like all margins.
CALIBRATION_MARGIN = 1.0

_ACCURACY, _CLASSES, _RELATIVE = "Overall accuracy", "Every class on its own", "Each class against the others"


def accuracy_gate(comparison: Comparison, settings: Audit) -> Gate:
    """G2: is the whole confirm split answered as well as before?"""
    drop, margin = comparison.drop, settings.margins.accuracy
    assert drop is not None
    assert comparison.negative_flips is not None
    assert comparison.positive_flips is not None
    floor = minimum_samples_to_pass(margin / 100, settings.alpha)
    status = _by_bounds(drop, margin, can_pass=comparison.n >= floor)
    reason = f"{change_in_words(drop.est)} against the twin ({interval(drop)}; margin {margin:g})."
    if status == "INCONCLUSIVE":
        discordance = (comparison.negative_flips + comparison.positive_flips) / 100 + 1 / (comparison.n + 2)
        reason += " " + _samples_wanted(drop, margin, settings.alpha, discordance, floor, comparison.n)
    return Gate(id="G2", title=_ACCURACY, status=status, reason=sentence(reason))


def regression_gate(comparison: Comparison, settings: Audit) -> Gate:
    """G2 for regression: R² in points takes the place of accuracy, a paired bootstrap that of the score interval."""
    title, drop, margin = "Explained variance", comparison.drop, settings.margins.accuracy
    if drop is None:
        return Gate(id="G2", title=title, status="NOT_RUN", reason="The labels of the confirm split do not vary.")
    floor = minimum_samples_to_pass(settings.margins.per_class / 100, settings.alpha)
    status = _by_bounds(drop, margin, can_pass=comparison.n >= floor)
    reason = f"R² {change_in_words(drop.est)} against the twin ({interval(drop)}; margin {margin:g})."
    if status == "INCONCLUSIVE":
        half = (drop.ci95[1] - drop.ci95[0]) / 2
        distance = abs(margin - drop.est)
        if distance > margin / 20:
            wanted = max(floor, samples_to_narrow(comparison.n, half, distance, settings.alpha))
            reason += f" About {about(wanted)} samples would settle it."
        else:
            reason += f" The drop lies next to the margin; with {comparison.n} samples it cannot be told from it."
    return Gate(id="G2", title=title, status=status, reason=sentence(reason))


def class_gate(comparison: Comparison, settings: Audit) -> Gate:
    """G3: does every class keep its recall?"""
    failed = [row for row in comparison.classes if row.status == "FAIL"]
    if failed:
        said = listing([f"{_title(row)}: {loss_in_words(row)}" for row in _worst_first(failed)], most=3)
        return Gate(id="G3", title=_CLASSES, status="FAIL", reason=sentence(f"{said}."))
    margin = settings.margins.per_class
    open_ = [row for row in comparison.classes if row.status != "PASS"]
    if not open_:
        worst = max(row.drop.upper_one_sided for row in comparison.classes)
        reason = f"A loss of {margin:g} points is ruled out for each of {len(comparison.classes)} classes; "
        reason += f"the largest upper bound is {points(max(worst, 0.0))}."
        return Gate(id="G3", title=_CLASSES, status="PASS", reason=reason)
    small = [row for row in open_ if not row.power.can_pass]
    reason = (
        f"{len(open_)} of {len(comparison.classes)} classes could not be judged at a margin of {margin:g} points"
        f"{f' ({len(small)} of them by their size alone)' if small else ''}. "
    )
    reason += sentence(listing([_wanted(row) for row in sorted(open_, key=lambda row: row.n)], most=4))
    return Gate(id="G3", title=_CLASSES, status="INCONCLUSIVE", reason=f"{reason}.")


def relative_gate(comparison: Comparison, settings: Audit) -> Gate:
    """G4: did the loss fall on some classes more than on the others?"""
    rows = [row for row in comparison.classes if row.n]
    if len(rows) < 2:
        reason = "Fewer than two classes have samples in the confirm split."
        return Gate(id="G4", title=_RELATIVE, status="NOT_RUN", reason=reason)
    assert comparison.drop is not None
    failed = sorted((r for r in rows if r.relative_status == "FAIL"), key=lambda row: -row.relative.est)
    if failed:
        said = [
            f"{_title(row)} lost {points(row.relative.est)} points more than all others "
            f"(95 % interval {points(row.relative.ci95[0])} to {points(row.relative.ci95[1])}; "
            f"{row.lost} lost, {row.gained} gained of {row.n}; Holm p {probability(row.relative_test.p_holm)})"
            for row in failed
        ]
        reason = f"{listing(said, most=3)}. Overall change {signed(-comparison.drop.est)}."
        return Gate(id="G4", title=_RELATIVE, status="FAIL", reason=sentence(reason))
    bound = settings.margins.per_class
    open_ = [row for row in comparison.classes if row.relative_status != "PASS"]
    if not open_:
        reason = f"Every class is within ±{bound:g} points of the others (95 % intervals)."
        return Gate(id="G4", title=_RELATIVE, status="PASS", reason=reason)
    favoured = [row for row in open_ if row.relative.ci95[1] < 0 and row.relative.est < -bound]
    reason = f"For {len(open_)} of {len(comparison.classes)} classes a skew of {bound:g} points could not be ruled out"
    if favoured:
        reason += f" ({listing([_title(row) for row in favoured])} did better than the others)"
    wanted = listing([_wanted_relative(row, settings) for row in sorted(open_, key=lambda row: row.n)], most=4)
    return Gate(id="G4", title=_RELATIVE, status="INCONCLUSIVE", reason=f"{reason}. {sentence(wanted)}.")


def calibration_gate(change: CalibrationChange) -> Gate:
    """G7, reported and not required: confidence can be repaired after the fact without changing an answer."""
    section = change.section
    status: Verdict = "INCONCLUSIVE"
    if change.upper < CALIBRATION_MARGIN:
        status = "PASS"
    elif change.lower > CALIBRATION_MARGIN:
        status = "FAIL"
    reason = (
        f"Calibration error {points(section.ece_ref)} → {points(section.ece)} points "
        f"(95 % interval of the change {signed(section.ci95[0])} to {signed(section.ci95[1])}; "
        f"margin {CALIBRATION_MARGIN:g}); confidence minus accuracy changed by {signed(section.overconfidence_change)}."
    )
    return Gate(id="G7", title="Calibration", status=status, reason=reason, required=False)


def _by_bounds(drop: Drop, margin: float, can_pass: bool) -> Verdict:
    if drop.lower_one_sided > margin:
        return "FAIL"
    return "PASS" if can_pass and drop.upper_one_sided < margin else "INCONCLUSIVE"


def _samples_wanted(drop: Drop, margin: float, alpha: float, discordance: float, floor: int, n: int) -> str:
    distance = margin - drop.est
    if abs(distance) < margin / 20:
        return f"The drop lies next to the margin; with {n} samples it cannot be told from it."
    if distance > 0:
        needed = samples_to_pass(margin / 100, alpha, discordance, max(drop.est, 0.0) / 100)
    else:
        # The same distance, looked at from the other side of the margin.
        needed = samples_to_pass(-distance / 100, alpha, discordance)
    assert needed is not None
    return f"About {about(max(needed, floor))} samples would settle it if the drop is what it seems."


def _title(row: ClassComparison) -> str:
    return class_title(row.id, row.name)


def _worst_first(rows: list[ClassComparison]) -> list[ClassComparison]:
    return sorted(rows, key=lambda row: -row.drop.est)


def _wanted(row: ClassComparison) -> str:
    need = row.power.samples_to_settle
    at_least = about(row.power.samples_for_margin if need is None else max(need, row.power.samples_for_margin))
    more = "more than " if need is None else "about "
    return f"{_title(row)} has {row.n} samples and needs {more}{at_least}"


def _wanted_relative(row: ClassComparison, settings: Audit) -> str:
    """How many samples bring the interval inside the bound if the skew is what it seems."""
    if not row.n:
        return f"{_title(row)} has no samples and needs about {about(row.power.samples_for_margin)}"
    half = (row.relative.ci95[1] - row.relative.ci95[0]) / 2
    room = settings.margins.per_class - abs(row.relative.est)
    if room < settings.margins.per_class / 20:
        return (
            f"{_title(row)} differs by {signed(row.relative.est)} points; {row.n} samples cannot tell this from noise"
        )
    return f"{_title(row)} has {row.n} samples and needs about {about(samples_to_narrow(row.n, half, room, 0.025))}"
