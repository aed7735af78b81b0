import math

import pytest

from worker.audit.correction import holm


def test_holm_of_a_hand_worked_example() -> None:
    # 4 · 0.005 = 0.02; 3 · 0.01 = 0.03; 2 · 0.03 = 0.06; 1 · 0.04 = 0.04, lifted to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_adjusted_values_end_at_one() -> None:
    assert holm([0.5, 0.9, 1.0]) == [1.0, 1.0, 1.0]


def test_nothing_to_correct_is_no_error() -> None:
    assert holm([]) == []


def test_nan_is_refused_instead_of_becoming_significant() -> None:
    with pytest.raises(ValueError, match="p values must lie in"):
        holm([0.2, math.nan])
