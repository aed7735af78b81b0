import pytest
import torch
from torch import fx

from worker.errors import MalformedModel
from worker.graph.arguments import bind, in_schema_order

aten = torch.ops.aten


def test_arguments_given_by_name_take_their_places_in_the_schema() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    call = graph.call_function(aten.max_pool2d.default, (x,), {"kernel_size": [2, 2], "ceil_mode": True})
    assert in_schema_order(call.target, bind(call)) == ((x, [2, 2], [], [0, 0], [1, 1], True), {})


def test_keyword_only_arguments_stay_keywords() -> None:
    given = {"self": 1.0, "other": 2.0, "alpha": 3}
    assert in_schema_order(aten.add.Tensor, given) == ((1.0, 2.0), {"alpha": 3})


@pytest.mark.parametrize(
    ("given", "says"), [({}, "lacks its argument 'self'"), ({"self": 1.0, "shape": []}, "has no argument 'shape'")]
)
def test_calls_that_do_not_match_the_schema_are_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(MalformedModel, match=says):
        in_schema_order(aten.relu.default, given)
