"""What needs which blocks, as a product of choices."""

from itertools import product

import pytest

from worker.graph.liveness import factors_of


def needs(*ways: str) -> frozenset[frozenset[int]]:
    return frozenset(frozenset(map(int, way)) for way in ways)


@pytest.mark.parametrize(
    ("ways", "groups"),
    [
        ([""], ()),
        (["1"], ({1},)),
        (["12"], ({1}, {2})),
        (["1", "2", "3"], ({1, 2, 3},)),
        (["12", "13"], ({1}, {2, 3})),
        (["13", "14", "23", "24"], ({1, 2}, {3, 4})),
    ],
)
def test_needs_are_a_product_of_choices(ways: list[str], groups: tuple[set[int], ...]) -> None:
    assert factors_of(needs(*ways)) == groups


@pytest.mark.parametrize("ways", [["12", "3"], ["12", "34"], ["13", "14", "23"]])
def test_what_is_no_such_product_has_no_expression(ways: list[str]) -> None:
    assert factors_of(needs(*ways)) is None


def test_a_product_of_many_choices_is_left_alone() -> None:
    choices = [frozenset({2 * pair, 2 * pair + 1}) for pair in range(5)]
    assert factors_of(frozenset(map(frozenset, product(*choices)))) is None
    assert factors_of(frozenset(map(frozenset, product(*choices[:4])))) == tuple(choices[:4])
