import torch
from torch import Tensor, fx, nn

from tests.worker.networks import NETWORKS, traced
from worker.graph.cleaning import clean

aten = torch.ops.aten


def test_assertions_and_what_nothing_reads_are_dropped() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.get_attr("unread")
    graph.call_function(aten._assert_tensor_metadata.default, (x, None, None, torch.float32))
    graph.call_function(aten.neg.default, (graph.call_function(aten.abs.default, (x,)),))
    graph.output((graph.call_function(aten.relu.default, (x,)),))
    clean(graph)
    assert [str(node.target) for node in graph.nodes] == ["x", "aten.relu.default", "output"]


class Attends(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5)


def test_attention_is_without_dropout() -> None:
    network, x = traced(Attends(), 2, 4, 8), torch.randn(3, 2, 4, 8)
    assert torch.equal(network(x)[0], network(x)[0])


def test_no_metadata_is_left() -> None:
    assert all(not node.meta for node in NETWORKS["mlp"]().module.graph.nodes)
