import pytest
import torch

from worker.graph import rules
from worker.graph.allowlist import ATEN_OVERLOADS, OPERATOR_FUNCTIONS, aten_overload
from worker.graph.rules import registry


@pytest.mark.parametrize(
    "name",
    [
        *("aten.from_file.default", "aten.empty.memory_format", "aten.new_empty.default", "aten.resize_.default"),
        *("aten.as_strided.default", "aten.set_.source_Storage", "aten.rand.default", "aten.bernoulli.default"),
        *("aten.randn.default", "aten.to.device", "aten.normal.float_float", "aten._foreach_add.Scalar"),
    ],
)
def test_ops_with_side_effects_randomness_or_raw_memory_are_not_allowed(name: str) -> None:
    assert aten_overload(name) is None


def test_every_name_is_an_op_of_this_torch() -> None:
    assert [name for name in sorted(ATEN_OVERLOADS) if aten_overload(name) is None] == []


def test_every_op_with_a_rule_is_allowed() -> None:
    assert rules.find_rule(torch.ops.aten.conv2d.default) is not None
    assert set(registry._RULES) - ATEN_OVERLOADS == set()


def test_every_rewrite_belongs_to_a_rule() -> None:
    assert set(registry._REWRITES) - set(registry._RULES) == set()


def test_sizes_cannot_grow_without_bound() -> None:
    assert not {"pow", "lshift", "matmul", "setitem", "attrgetter", "methodcaller"} & set(OPERATOR_FUNCTIONS)
