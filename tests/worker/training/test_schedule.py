import math

import pytest

from worker.training.schedule import learning_rate


def test_it_rises_in_a_line_then_falls_along_a_cosine():
    rates = [learning_rate(update, 100, 0.1, 0.1) for update in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) / 11 for i in range(10)])
    assert rates[10] == 0.1 == max(rates)
    assert rates[10:] == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 90)) for i in range(90)])
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize(("updates", "warmup"), [(1, 0.0), (1, 0.99), (2, 0.99), (3, 0.5)])
def test_short_runs_have_a_positive_rate_at_every_update(updates: int, warmup: float):
    assert all(0 < learning_rate(update, updates, 0.1, warmup) <= 0.1 for update in range(updates))
