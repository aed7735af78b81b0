import numpy as np
import pytest

from worker.audit.mcnemar import exact_mcnemar
from worker.audit.power import (
    detectable_drop,
    minimum_samples_to_pass,
    samples_to_detect,
    samples_to_narrow,
    samples_to_pass,
)


@pytest.mark.parametrize(
    ("n", "points"),
    [(12, 83), (20, 55), (30, 39), (50, 25), (100, 14), (200, 7.8), (500, 4.0), (1000, 2.4), (2000, 1.6)],
)
def test_detectable_drop_of_ten_classes_is_that_of_the_published_table(n: int, points: float) -> None:
    found = detectable_drop(n, 0.05, 10)
    assert found is not None
    # The table was rounded to its last digit.
    assert 100 * found == pytest.approx(points, abs=0.5 if points > 10 else 0.06)


def test_too_few_samples_detect_nothing() -> None:
    assert detectable_drop(8, 0.05, 10) is None


def test_detectable_drop_is_found_in_four_simulated_audits_of_five() -> None:
    n, tests = 150, 10
    drop = detectable_drop(n, 0.05, tests)
    assert drop is not None
    draws = np.random.default_rng(0).multinomial(n, [drop + 0.01, 0.01, 0.98 - drop], size=2000)
    found = np.mean([exact_mcnemar(int(lost), int(gained)) < 0.05 / tests for lost, gained, _ in draws])
    assert found == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("margin", "n"), [(0.10, 29), (0.05, 59), (0.02, 149), (0.01, 299)])
def test_fewest_samples_that_can_pass_a_margin(margin: float, n: int) -> None:
    assert minimum_samples_to_pass(margin, 0.05) == n
    assert (1 - margin) ** n <= 0.05 < (1 - margin) ** (n - 1)


def test_no_number_of_samples_shows_that_a_drop_is_below_itself() -> None:
    assert samples_to_pass(0.05, 0.05, 0.06, drop=0.05) is None


def test_a_drop_near_the_margin_takes_more_samples() -> None:
    sizes = [samples_to_pass(0.05, 0.05, 0.06, drop) for drop in (0.0, 0.02, 0.04)]
    assert sizes == sorted(sizes)  # type: ignore[type-var]  # none of them is None below the margin


def test_samples_to_detect_agree_with_the_detectable_drop() -> None:
    drop = detectable_drop(500, 0.05, 10)
    assert drop is not None
    assert samples_to_detect(drop, 0.05, 10, drop + 0.02) == pytest.approx(500, rel=0.1)
    assert samples_to_detect(0.0, 0.05, 10, 0.02) is None


def test_halving_the_distance_takes_four_times_the_samples() -> None:
    assert samples_to_narrow(100, 2.0, 1.0, 0.05) == pytest.approx(4 * samples_to_narrow(100, 2.0, 2.0, 0.05), abs=4)
