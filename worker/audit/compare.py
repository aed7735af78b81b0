"""Pruned against a reference, on the same samples: the comparison of the report."""

from typing import Literal

import numpy as np

from service.contract.recipe import Audit
from service.contract.report import Comparison
from worker.audit.classes import compare_classes
from worker.audit.drops import paired_drops
from worker.audit.intervals import wilson
from worker.audit.metrics import divergences, flips
from worker.data.answers import Answers

__all__ = ["compare"]


def compare(
    reference: Answers, pruned: Answers, names: tuple[str, ...], settings: Audit, kind: Literal["dense", "twin"]
) -> Comparison:
    """Both answered the same rows in the same order; `names` holds one name per class.

    Without labels only agreement is compared.
    """
    n = len(reference)
    changed = int((reference.answer != pruned.answer).sum())
    low, high = wilson(changed, n)
    kl, js = divergences(reference, pruned)
    agreement = Comparison(
        reference=kind,
        n=n,
        accuracy_ref=None,
        accuracy=None,
        drop=None,
        disagreement=100 * changed / n,
        disagreement_ci95=[100 * low, 100 * high],
        negative_flips=None,
        positive_flips=None,
        kl=float(kl.mean()),
        js=float(js.mean()),
        classes=[],
    )
    if reference.labels is None:
        return agreement
    counts = flips(reference, pruned)
    lost, gained = counts.lost.sum(keepdims=True), counts.gained.sum(keepdims=True)
    return agreement.model_copy(
        update={
            "accuracy_ref": 100 * float(reference.correct.mean()),
            "accuracy": 100 * float(pruned.correct.mean()),
            "drop": paired_drops(lost, gained, np.array([n]), settings.alpha)[0],
            "negative_flips": 100 * int(lost[0]) / n,
            "positive_flips": 100 * int(gained[0]) / n,
            "classes": compare_classes(counts, names, settings),
        }
    )
