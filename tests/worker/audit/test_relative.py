import numpy as np
import pytest

from worker.audit.relative import class_against_rest


def test_no_flips_at_all_give_p_of_one_everywhere() -> None:
    zero = np.zeros(5, dtype=np.int64)
    skew = class_against_rest(zero, zero, np.full(5, 40))
    assert (skew.p == 1.0).all()
    assert (skew.estimate == 0.0).all()
    assert np.isfinite(skew.half_width(0.025)).all()


def test_the_same_loss_everywhere_is_no_skew() -> None:
    skew = class_against_rest(np.full(4, 30), np.full(4, 5), np.full(4, 100))
    assert skew.estimate == pytest.approx(0.0)
    assert skew.p == pytest.approx(1.0)


def test_a_class_lost_as_a_whole_is_finite_and_significant() -> None:
    skew = class_against_rest(np.array([50, 0, 0]), np.array([0, 0, 0]), np.array([50, 50, 50]))
    assert skew.p[0] < 1e-6
    assert np.isfinite(skew.p).all()


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        class_against_rest(np.array([1]), np.array([0]), np.array([5]))
