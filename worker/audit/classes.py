"""Class by class, pruned against a reference: tests, intervals, and what the number of samples could have shown."""

import numpy as np
import numpy.typing as npt

from service.contract.recipe import Audit
from service.contract.report import ClassComparison, Drop, Power, TestResult
from service.contract.resources import Verdict
from worker.audit.correction import holm
from worker.audit.drops import paired_drops, unknown_drop
from worker.audit.mcnemar import exact_mcnemar, minimum_flips
from worker.audit.metrics import Flips
from worker.audit.power import detectable_drop, minimum_samples_to_pass, samples_to_detect, samples_to_pass
from worker.audit.relative import class_against_rest
from worker.audit.wording import FEWEST_FOR_A_RATE, class_message

__all__ = ["compare_classes"]

# Share of samples that changes sides where nothing better is known.
_USUAL_DISCORDANCE = 0.06
# More samples than this are no advice.
_MOST_SAMPLES = 1_000_000


def compare_classes(counts: Flips, names: tuple[str, ...], settings: Audit) -> list[ClassComparison]:
    """One row per class that the network knows, in order, those without samples included.

    Harm of one class is tested by exact McNemar, its excess over the others by Welch's t, each with Holm's correction
    over the classes that have samples.
    """
    present = np.flatnonzero(counts.n)
    tests = len(present)
    lost, gained, n = counts.lost[present], counts.gained[present], counts.n[present]
    drops = paired_drops(lost, gained, n, settings.alpha)
    raw = [exact_mcnemar(int(b), int(c)) for b, c in zip(lost, gained, strict=True)]
    relative = _relative(counts, present, settings.alpha)
    adjusted, adjusted_relative = holm(raw), holm([p for _, p in relative])
    pooled = (int((lost + gained).sum()) + 1) / (int(n.sum()) + 2)
    place = {int(index): position for position, index in enumerate(present)}
    rows = []
    for index, name in enumerate(names):
        if index not in place:
            rows.append(_absent(index, name, settings, tests))
            continue
        k = place[index]
        power = _power(int(lost[k]), int(gained[k]), int(n[k]), pooled, settings, tests)
        test, drop = TestResult(p=raw[k], p_holm=adjusted[k]), drops[k]
        skew, skew_test = relative[k][0], TestResult(p=relative[k][1], p_holm=adjusted_relative[k])
        size = (int(n[k]), int(lost[k]), int(gained[k]))
        rows.append(
            ClassComparison(
                id=index,
                name=name,
                n=size[0],
                lost=size[1],
                gained=size[2],
                recall_ref=100 * int(counts.right_ref[index]) / size[0],
                recall=100 * int(counts.right[index]) / size[0],
                drop=drop,
                mcnemar=test,
                relative=skew,
                relative_test=skew_test,
                power=power,
                status=_absolute_status(drop, test, power, settings),
                relative_status=_relative_status(skew, skew_test, settings) if tests > 1 else "NOT_RUN",
                message="",
            )
        )
    return [row.model_copy(update={"message": class_message(row, settings, tests)}) for row in rows]


def _relative(counts: Flips, present: npt.NDArray[np.int64], alpha: float) -> list[tuple[Drop, float]]:
    """Excess drop and unadjusted p of each present class; a lone class has no rest to differ from."""
    if len(present) < 2:
        lone = Drop(est=0.0, ci95=[0.0, 0.0], lower_one_sided=0.0, upper_one_sided=0.0, method="none")
        return [(lone, 1.0)] * len(present)
    skew = class_against_rest(counts.lost[present], counts.gained[present], counts.n[present])
    wide, narrow = skew.half_width(0.025), skew.half_width(alpha)
    return [
        (
            Drop(
                est=100 * e,
                ci95=[100 * (e - w), 100 * (e + w)],
                lower_one_sided=100 * (e - s),
                upper_one_sided=100 * (e + s),
                method="welch",
            ),
            float(p),
        )
        for e, w, s, p in zip(skew.estimate.tolist(), wide.tolist(), narrow.tolist(), skew.p, strict=True)
    ]


def _absolute_status(drop: Drop, test: TestResult, power: Power, settings: Audit) -> Verdict:
    """FAIL: significant after Holm and at least the margin. PASS: the one-sided bound is below the margin."""
    margin = settings.margins.per_class
    if test.p_holm < settings.alpha and drop.est >= margin:
        return "FAIL"
    return "PASS" if power.can_pass and drop.upper_one_sided < margin else "INCONCLUSIVE"


def _relative_status(skew: Drop, test: TestResult, settings: Audit) -> Verdict:
    """FAIL: significant after Holm and harmed by the minimum effect. PASS: 95 % interval within ± the margin."""
    if test.p_holm < settings.alpha and skew.est >= settings.margins.relative:
        return "FAIL"
    inside = max(abs(skew.ci95[0]), abs(skew.ci95[1])) < settings.margins.per_class
    return "PASS" if inside else "INCONCLUSIVE"


def _power(lost: int, gained: int, n: int, pooled: float, settings: Audit, tests: int) -> Power:
    margin, alpha = settings.margins.per_class / 100, settings.alpha
    discordance = (lost + gained + 1) / (n + 2) if n >= FEWEST_FOR_A_RATE else pooled
    floor = minimum_samples_to_pass(margin, alpha)
    unharmed = samples_to_pass(margin, alpha, discordance)
    assert unharmed is not None
    drop = (lost - gained) / n if n else 0.0
    if drop >= margin:
        settle = samples_to_detect(drop, alpha, tests, discordance)
    else:
        settle = samples_to_pass(margin, alpha, discordance, max(drop, 0.0))
    detectable = detectable_drop(n, alpha, tests)
    return Power(
        detectable_drop=None if detectable is None else 100 * detectable,
        samples_for_margin=max(unharmed, floor),
        samples_to_settle=None if settle is None or settle > _MOST_SAMPLES else max(settle, floor),
        can_pass=n >= floor,
        can_fail=n >= minimum_flips(alpha / tests),
    )


def _absent(index: int, name: str, settings: Audit, tests: int) -> ClassComparison:
    """A class that the network knows and the confirm split does not hold."""
    unknown = unknown_drop()
    test = TestResult(p=1.0, p_holm=1.0)
    power = _power(0, 0, 0, _USUAL_DISCORDANCE, settings, max(tests, 1))
    return ClassComparison(
        id=index,
        name=name,
        n=0,
        lost=0,
        gained=0,
        recall_ref=None,
        recall=None,
        drop=unknown,
        mcnemar=test,
        relative=unknown,
        relative_test=test,
        power=power,
        status="INCONCLUSIVE",
        relative_status="INCONCLUSIVE",
        message="",
    )
