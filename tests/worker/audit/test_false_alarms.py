"""How often the audit accuses or clears wrongly, on simulated audits without any skew."""

import numpy as np

from service.contract.recipe import Audit
from worker.audit.classes import compare_classes
from worker.audit.metrics import Flips

NAMES = tuple(f"class {k}" for k in range(10))
AUDITS = 400


def simulated(random: np.random.Generator, lost: float, gained: float, n: int) -> Flips:
    table = random.multinomial(n, [lost, gained, 1 - lost - gained], size=10)
    right = np.full(10, n - n // 5)
    return Flips(n=np.full(10, n), lost=table[:, 0], gained=table[:, 1], right_ref=right, right=right)


def test_uniform_noise_names_a_class_in_five_per_cent_of_audits_at_most() -> None:
    random = np.random.default_rng(0)
    # The smallest margins, so that nothing but the correction protects the innocent.
    settings = Audit.model_validate({"margins": {"per_class": 0.01, "relative": 0.01}})
    absolute = relative = 0
    for _ in range(AUDITS):
        rows = compare_classes(simulated(random, 0.04, 0.04, 200), NAMES, settings)
        absolute += any(row.mcnemar.p_holm < 0.05 for row in rows)
        relative += any(row.relative_test.p_holm < 0.05 for row in rows)
    # 5 % plus two standard errors of 400 simulated audits.
    assert absolute <= 0.072 * AUDITS
    assert relative <= 0.072 * AUDITS


def test_uniform_harm_at_the_margin_passes_almost_never() -> None:
    random = np.random.default_rng(1)
    passed = 0
    for _ in range(AUDITS):
        rows = compare_classes(simulated(random, 0.055, 0.005, 200), NAMES, Audit())
        passed += all(row.status == "PASS" for row in rows)
    assert passed == 0
