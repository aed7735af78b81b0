"""Coverage is enumerated exactly: every table of counts, weighted by its multinomial probability."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import multinomial, norm

from worker.audit.intervals import paired_bounds, wilson
from worker.audit.power import minimum_samples_to_pass, samples_to_pass

RATES = [(0.05, 0.0), (0.06, 0.01), (0.02, 0.02), (0.1, 0.05), (0.3, 0.05)]


def tables(n: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    lost, gained = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost + gained <= n
    return lost[possible], gained[possible]


def weight(lost: npt.NDArray[np.int64], gained: npt.NDArray[np.int64], n: int, rates: tuple[float, float]):
    cells = np.stack([lost, gained, n - lost - gained], axis=1)
    return multinomial.pmf(cells, n, [*rates, 1 - sum(rates)])


@pytest.mark.parametrize("n", [12, 30, 60, 100, 200])
def test_the_interval_covers_the_true_drop(n: int) -> None:
    lost, gained = tables(n)
    low, high = paired_bounds(lost, gained, np.full_like(lost, n), 0.025)
    for rates in RATES:
        drop = rates[0] - rates[1]
        covered = (low <= drop + 1e-9) & (drop - 1e-9 <= high)
        assert weight(lost, gained, n, rates)[covered].sum() >= 0.94, (n, rates)


@pytest.mark.parametrize("n", [59, 100, 200])
def test_a_class_that_lost_the_margin_passes_in_about_five_per_cent_of_audits_at_most(n: int) -> None:
    lost, gained = tables(n)
    _, upper = paired_bounds(lost, gained, np.full_like(lost, n), 0.05)
    for rates in RATES:
        drop = rates[0] - rates[1]
        assert weight(lost, gained, n, rates)[upper < drop - 1e-9].sum() <= 0.055, (n, rates)


def test_the_bound_solves_the_score_equation_where_it_has_a_closed_form() -> None:
    # Without gains the constrained probability of a gain is 0: the bound is Wilson's.
    _, upper = paired_bounds(np.array([3]), np.array([0]), np.array([80]), 0.05)
    assert upper[0] == pytest.approx(wilson(3, 80, 0.05)[1], abs=1e-9)


def test_bounds_mirror_when_lost_and_gained_change_places() -> None:
    lost, gained, n = np.array([7, 0]), np.array([2, 5]), np.array([50, 40])
    low, high = paired_bounds(lost, gained, n, 0.025)
    mirrored_low, mirrored_high = paired_bounds(gained, lost, n, 0.025)
    assert low == pytest.approx(-mirrored_high, abs=1e-9)
    assert high == pytest.approx(-mirrored_low, abs=1e-9)


def test_losing_every_sample_gives_finite_bounds() -> None:
    low, high = paired_bounds(np.array([1, 12]), np.array([0, 0]), np.array([1, 12]), 0.025)
    assert np.isfinite(low).all()
    assert high == pytest.approx([1.0, 1.0])


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    z = norm.isf(0.025)
    assert wilson(0, 50)[1] == pytest.approx(z * z / (50 + z * z))


@pytest.mark.parametrize("discordance", [0.01, 0.02, 0.06, 0.1])
def test_the_number_of_samples_that_is_asked_for_settles_four_audits_in_five(discordance: float) -> None:
    wanted = samples_to_pass(0.05, 0.05, discordance)
    assert wanted is not None
    n = max(wanted, minimum_samples_to_pass(0.05, 0.05))
    lost, gained = tables(n)
    _, upper = paired_bounds(lost, gained, np.full_like(lost, n), 0.05)
    power = weight(lost, gained, n, (discordance / 2, discordance / 2))[upper < 0.05].sum()
    assert 0.74 <= power <= 0.9
