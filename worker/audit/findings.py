"""The risks and the benefit that the service exists to report, each in words."""

from service.contract.report import ArmEvaluation, Calibration, Comparison, Finding
from worker.audit.wording import change_in_words, class_title, interval, listing, points, signed

__all__ = ["bias_finding", "generalization_finding", "information_finding", "sensitivity_finding"]


def information_finding(twin: Comparison | None, original: Comparison | None) -> Finding:
    """Risk 1: what the pruned network no longer knows."""
    if twin is None or original is None:
        return Finding(summary="Not assessed: the job had no data.")
    if twin.disagreement is None:
        if twin.drop is None or twin.r2_ref is None or twin.r2 is None:
            return Finding(summary="Not assessed: there are no labels to measure an error against.")
        summary = f"R² {points(twin.r2_ref)} → {points(twin.r2)} % against the twin ({interval(twin.drop)})."
        return Finding(summary=summary, details=[f"Mean squared error against the twin: {twin.mse:+.4g}."])
    changed = f"{points(twin.disagreement)} % of the answers differ from the twin's"
    details = [
        f"Against the model as uploaded {points(original.disagreement or 0.0)} % of the answers differ.",
        f"Divergence of the outputs from the twin's: KL {twin.kl:.3g} nats, Jensen-Shannon {twin.js:.3g} nats.",
    ]
    if twin.drop is None or twin.negative_flips is None or twin.positive_flips is None:
        return Finding(summary=f"{changed}; without labels nobody can say which are worse.", details=details)
    details.insert(
        0,
        f"{points(twin.negative_flips)} % went from right to wrong and {points(twin.positive_flips)} % from wrong to "
        f"right; the difference is the change of accuracy.",
    )
    if original.drop is not None:
        details.append(f"Accuracy against the model as uploaded: {change_in_words(original.drop.est)}.")
    summary = f"Accuracy against the twin: {change_in_words(twin.drop.est)} ({interval(twin.drop)}), and {changed}."
    return Finding(summary=summary, details=details)


def bias_finding(twin: Comparison | None, calibration: Calibration | None) -> Finding:
    """Risk 2: whether the loss fell on some classes more than on others."""
    if twin is None:
        return Finding(summary="Could not be assessed: no data.")
    if not twin.classes:
        why = "regression has no classes" if twin.drop is not None else "no labels"
        return Finding(summary=f"Could not be assessed: {why}.")
    harmed = [row for row in twin.classes if "FAIL" in (row.status, row.relative_status)]
    unclear = [row for row in twin.classes if row not in harmed and row.status != "PASS"]
    if harmed:
        summary = f"Pruning harmed {listing([class_title(row.id, row.name) for row in harmed])}."
    elif unclear:
        summary = f"No class is shown to be harmed; {len(unclear)} of {len(twin.classes)} could not be cleared."
    else:
        summary = f"Each of {len(twin.classes)} classes is shown to have kept its recall within the margin."
    details = [row.message for row in harmed]
    if seen := [row for row in twin.classes if row.n]:
        worst = max(seen, key=lambda row: row.drop.est)
        details.append(
            f"Largest observed loss: {class_title(worst.id, worst.name)}, {change_in_words(worst.drop.est)}. "
            f"The largest of {len(seen)} noisy numbers is large even without harm, so it decides nothing by itself."
        )
    if calibration is not None:
        details.append(
            f"Calibration error changed by {signed(calibration.change)} points "
            f"(95 % interval {signed(calibration.ci95[0])} to {signed(calibration.ci95[1])})."
        )
    return Finding(summary=summary, details=details)


def sensitivity_finding(seed: int, assessed: bool) -> Finding:
    """Risk 3: what chance decided."""
    details = ["Published seed-to-seed spread of small networks on CIFAR-10 is about 0.2 points of accuracy."]
    if assessed:
        details.insert(0, "All intervals here are about the choice of samples, not about the choice of the seed.")
    summary = f"One run with seed {seed}: how much another seed would change is not known."
    return Finding(summary=summary, details=details)


def generalization_finding(arms: list[ArmEvaluation]) -> Finding:
    """A benefit that pruning may bring: a smaller distance between training and unseen samples."""
    ratios = {arm.arm: arm.loss / arm.train_loss for arm in arms if arm.loss is not None and arm.train_loss}
    if {"twin", "pruned"} <= ratios.keys():
        return Finding(
            summary="Mean squared error on unseen samples ÷ on training samples: "
            f"{ratios['pruned']:.2f} after pruning, {ratios['twin']:.2f} for the twin."
        )
    gaps = {arm.arm: arm.generalization_gap for arm in arms if arm.generalization_gap is not None}
    if not {"twin", "pruned"} <= gaps.keys():
        return Finding(summary="Not assessed: it takes labelled training samples and labelled unseen ones.")
    change = gaps["pruned"] - gaps["twin"]
    trend = "narrowed" if change < -0.05 else "widened" if change > 0.05 else "did not change"
    by = "" if trend == "did not change" else f" by {points(abs(change))} points"
    details = [
        f"{arm.arm.capitalize()}: {points(arm.train_accuracy)} % on training samples without augmentation, "
        f"{points(arm.accuracy)} % on unseen ones, gap {signed(arm.generalization_gap)}."
        for arm in arms
        if arm.train_accuracy is not None and arm.accuracy is not None and arm.generalization_gap is not None
    ]
    return Finding(
        summary=f"The gap between training and unseen samples {trend}{by} against the twin.",
        details=[*details, "If the upload was trained on the confirm samples, its own gap means nothing."],
    )
