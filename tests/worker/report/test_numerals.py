import pytest

from worker.report import numerals


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1234, "1.23 k"), (40_816_842, "40.8 M"), (2.5e9, "2.50 G"), (1e12, "1.00 T")],
)
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert numerals.quantity(value).replace("\u202f", " ") == text


def test_a_minus_is_a_minus_and_zero_has_no_sign() -> None:
    assert numerals.signed(-4.64) == "−4.6"
    assert numerals.signed(0.3) == "+0.3"
    assert numerals.signed(-0.04) == "0.0"
    assert numerals.signed(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(1.234, "1.23 ms"), (0.1, "0.10 ms"), (0.0123, "12.3 µs"), (0.00987, "9.87 µs")]
)
def test_latencies_of_small_networks_keep_their_digits(value: float, text: str) -> None:
    assert numerals.milliseconds(value).replace("\u202f", " ") == text


def test_sizes_percentages_and_p_values() -> None:
    assert numerals.byte_size(1_093_882).replace("\u202f", " ") == "1.09 MB"
    assert numerals.share(0.4903).replace("\u202f", " ") == "49.0 %"
    assert numerals.percent(None) == "–"
    assert numerals.probability(3e-9) == "< 0.0001"
    assert numerals.probability(1.0) == "1"
