"""How the audit says things: the sentences that end up in the report and in a pipeline's log."""

from collections.abc import Sequence

from service.contract.recipe import Audit
from service.contract.report import ClassComparison, Drop, Power

__all__ = [
    "about",
    "change_in_words",
    "class_message",
    "class_title",
    "interval",
    "listing",
    "loss_in_words",
    "points",
    "probability",
    "sentence",
    "shorten",
    "signed",
]

_LONGEST_NAME = 60
# Below this many samples a rate says nothing that the counts do not say better.
FEWEST_FOR_A_RATE = 30


def class_title(index: int, name: str) -> str:
    """`class 3 (cat)`, or `class 3` where the name adds nothing. Long names are shortened."""
    if name in (str(index), f"class {index}"):
        return f"class {index}"
    return f"class {index} ({shorten(name, _LONGEST_NAME)})"


def shorten(name: str, most: int = 40) -> str:
    """Uploaded names have any length: the middle of a long one is left out, because both ends tell names apart."""
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[len(name) - (most - 1 - head) :]}"


def points(value: float) -> str:
    """`4.6`; never `-0.0`."""
    return f"{value + 0.0:.1f}".replace("-0.0", "0.0") if abs(value) < 0.05 else f"{value:.1f}"


def signed(value: float) -> str:
    """`+0.3`, `−4.6` or `0.0`, with a real minus sign."""
    text = points(value)
    return text if text == "0.0" else ("−" + text[1:] if value < 0 else "+" + text)


def probability(p: float) -> str:
    """`= 0.013`, with two digits that mean something, or `< 0.0001`."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def sentence(text: str) -> str:
    """With a capital; the rest stays as it is (`MACs`)."""
    return text[0].upper() + text[1:]


def about(count: int) -> str:
    """A sample size, rounded up to two digits: it comes from an approximation."""
    scale = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // scale) * scale:,}".replace(",", "\u202f")


def listing(items: Sequence[str], most: int = 5) -> str:
    """`a, b and c`; long lists end in a count."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]])) if items else "none"


def interval(drop: Drop) -> str:
    """Of the change, so that minus is worse, as everyone reads it."""
    return f"95 % interval {signed(-drop.ci95[1])} to {signed(-drop.ci95[0])}"


def loss_in_words(row: ClassComparison) -> str:
    """`recall 84.2 → 79.6 % (4.6 points lost, 95 % interval −6.9 to −2.3; 71 lost, 25 gained; Holm p < 0.0001)`."""
    assert row.recall_ref is not None
    assert row.recall is not None
    return (
        f"recall {points(row.recall_ref)} → {points(row.recall)} % ({change_in_words(row.drop.est)}, "
        f"{interval(row.drop)}; {row.lost} lost, {row.gained} gained; Holm p {probability(row.mcnemar.p_holm)})"
    )


def change_in_words(drop: float) -> str:
    if points(abs(drop)) == "0.0":
        return "unchanged"
    return f"{points(abs(drop))} points {'lost' if drop > 0 else 'gained'}"


def class_message(row: ClassComparison, settings: Audit, tests: int) -> str:
    """One class in a few sentences. `tests` is the number of classes with samples."""
    n, drop, power, margin = row.n, row.drop, row.power, settings.margins.per_class
    start = sentence(class_title(row.id, row.name))
    seen = f"{row.lost} lost and {row.gained} gained of {n}"
    if n == 0:
        said = f"no samples in the confirm split, so nothing can be said. {_wanted(power, margin)}"
    elif row.status == "FAIL":
        said = f"{seen}; {change_in_words(drop.est)}, {interval(drop)}, Holm p {probability(row.mcnemar.p_holm)}."
    elif row.status == "PASS":
        said = f"{seen}; a loss of more than {points(max(drop.upper_one_sided, 0.0))} points is ruled out."
    elif n < FEWEST_FOR_A_RATE or not power.can_pass:
        said = f"{n} samples ({seen}), too few to judge. {_limit(power, tests)} {_wanted(power, margin)}"
    else:
        said = (
            f"{seen}; {change_in_words(drop.est)}, but the loss may be as large as "
            f"{points(drop.upper_one_sided)} points. {_limit(power, tests)} {_wanted(power, margin)}"
        )
    return f"{start}: {said}{_skew_in_words(row, margin)}"


def _skew_in_words(row: ClassComparison, margin: float) -> str:
    """Only what the class's own loss does not say already."""
    skew = row.relative
    if row.relative_status == "FAIL":
        return (
            f" It lost {points(skew.est)} points more than the other classes ({interval(skew)}, "
            f"Holm p {probability(row.relative_test.p_holm)})."
        )
    if row.relative_status == "INCONCLUSIVE" and row.status == "PASS":
        return (
            f" Its change differs from that of the other classes by {signed(-skew.est)} points ({interval(skew)}), "
            f"so a skew of {margin:g} points is not ruled out."
        )
    return ""


def _limit(power: Power, tests: int) -> str:
    if power.detectable_drop is None:
        return f"At this size no loss at all would be detected ({tests} classes, 80 % power)."
    return (
        f"At this size only a loss of about {power.detectable_drop:.0f} points would be detected "
        f"({tests} classes, 80 % power)."
        if power.detectable_drop >= 10
        else f"At this size a loss of {points(power.detectable_drop)} points would be detected "
        f"({tests} classes, 80 % power)."
    )


def _wanted(power: Power, margin: float) -> str:
    wanted = f"To rule out a loss of {margin:g} points supply about {about(power.samples_for_margin)} samples"
    if power.samples_to_settle is None:
        return wanted + " if nothing is truly lost; more if something is, because the loss seen is next to the margin."
    if power.samples_to_settle > power.samples_for_margin:
        return (
            wanted + f" if nothing is truly lost, about {about(power.samples_to_settle)} if the loss is what it seems."
        )
    return wanted + f", better {about(2 * power.samples_for_margin)}."
