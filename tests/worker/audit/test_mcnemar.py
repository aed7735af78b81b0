import pytest
from scipy.stats import binomtest

from worker.audit.mcnemar import exact_mcnemar, minimum_flips


@pytest.mark.parametrize(("lost", "gained"), [(0, 1), (3, 3), (9, 0), (25, 71), (200, 150)])
def test_p_is_the_two_sided_binomial_test_of_a_fair_coin(lost: int, gained: int) -> None:
    assert exact_mcnemar(lost, gained) == pytest.approx(binomtest(lost, lost + gained, 0.5).pvalue)


def test_identical_networks_have_p_of_one() -> None:
    assert exact_mcnemar(0, 0) == 1.0


@pytest.mark.parametrize(("classes", "flips"), [(1, 6), (10, 9), (100, 12), (1000, 16)])
def test_fewest_flips_that_can_ever_be_significant(classes: int, flips: int) -> None:
    assert minimum_flips(0.05 / classes) == flips
    assert exact_mcnemar(flips, 0) < 0.05 / classes <= exact_mcnemar(flips - 1, 0)
