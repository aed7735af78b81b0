"""What would probably help, most promising first."""

from service.contract.recipe import Recipe
from service.contract.report import Comparison, Gate
from service.contract.resources import Verdict
from worker.audit.verdict import Tier
from worker.audit.wording import about, class_title, listing

__all__ = ["suggestions"]

# More epochs than this rarely win back what pruning took.
_ENOUGH_EPOCHS = 20


def suggestions(
    recipe: Recipe, verdict: Verdict, gates: list[Gate], comparison: Comparison | None, tier: Tier
) -> list[str]:
    """Each is something the reader can do: a field of the recipe with its value, or data to supply."""
    failed = {gate.id for gate in gates if gate.status == "FAIL"}
    lines = _recover(recipe, failed & {"G2", "G3", "G4"}, tier)
    lines += _supply(verdict, comparison, tier)
    if "G1" in failed:
        lines.append("Loosen `prune.min_keep`, `prune.protect` or `prune.round_to`: the target is out of their reach.")
    if "G0" in failed:
        lines.append("Remove the samples that the splits share, and repeat the job on data used for nothing else.")
    if "G7" in failed:
        lines.append("Rescale the confidence on held-out samples (temperature scaling): it changes no answer.")
    return lines


def _recover(recipe: Recipe, failed: set[str], tier: Tier) -> list[str]:
    if not failed:
        return []
    lines = []
    tune = recipe.finetune
    if not tune.recalibrate:
        lines.append("Recalibrate the batch norm statistics: `finetune.recalibrate: true`. It takes seconds.")
    if tune.epochs < _ENOUGH_EPOCHS:
        lines.append(f"Fine-tune longer: `finetune.epochs: {min(_ENOUGH_EPOCHS, max(5, 3 * tune.epochs))}`.")
    if tune.distill is None:
        lines.append('Distil from the dense model: `finetune.distill: {"weight": 0.9, "temperature": 4}`.')
    if failed & {"G3", "G4"} and tune.class_weights == "none" and tier == 2:
        lines.append("Weigh rare classes up while fine-tuning: `finetune.class_weights: balanced`.")
    if recipe.prune.criterion != "taylor":
        lines.append("Let the data say which channels matter: `prune.criterion: taylor`.")
    if recipe.prune.schedule.kind == "one_shot":
        lines.append('Remove in steps: `prune.schedule: {"kind": "linear", "steps": 4}`.')
    for name, asked in (("macs", recipe.target.macs), ("params", recipe.target.params)):
        if asked is not None:
            lines.append(f"Remove less: `target.{name}: {min(0.95, asked + (1 - asked) / 3):.2f}`.")
    for name, more in (("size_bytes", 1.25), ("memory_bytes", 1.25), ("latency", 1.25), ("speedup", 0.8)):
        given = recipe.target.asked.get(name)
        if given is not None and (name != "speedup" or given * more > 1):
            wish = f"{given * more:.3g}" if name in ("latency", "speedup") else f"{given * more:.0f}"
            lines.append(f"Remove less: `target.{name}: {wish}`.")
    if recipe.target.sparsity is not None:
        asked = recipe.target.sparsity
        lines.append(f"Ask for fewer zeros: `target.sparsity: {max(2 / 3 * asked, 2 * asked - 1):.2f}`.")
    return lines


def _supply(verdict: Verdict, comparison: Comparison | None, tier: Tier) -> list[str]:
    if tier == 0:
        return ["Send a dataset with the job: labels decide, unlabelled samples still show which answers changed."]
    if tier == 1:
        return ["Send labels with the dataset: without them no verdict about accuracy or bias is possible."]
    if verdict == "PASS" or comparison is None:
        return []
    open_ = [row for row in comparison.classes if row.status == "INCONCLUSIVE"]
    if not open_:
        return []
    wanted = [
        (class_title(row.id, row.name), max(row.power.samples_for_margin, row.power.samples_to_settle or 0))
        for row in sorted(open_, key=lambda row: row.n)
    ]
    said = [f"{title} (about {about(count)} in all)" for title, count in wanted]
    return [f"Supply more labelled samples, not used in training, at least of {listing(said)}."]
