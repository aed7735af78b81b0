"""How large a token id may be: the rows of the embedding table that an input of whole numbers indexes."""

from dataclasses import replace

import torch
from torch import Tensor, fx

from worker.graph.network import Network

__all__ = ["with_table_rows"]

aten = torch.ops.aten

_PASS_IDS_ON = frozenset(
    {
        aten.to.dtype,
        aten._to_copy.default,
        aten.alias.default,
        aten.view.default,
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.transpose.int,
        aten.permute.default,
        aten.slice.Tensor,
        aten.contiguous.default,
        aten.clone.default,
    }
)


def with_table_rows(network: Network) -> Network:
    """The network with `table_rows` known for the inputs whose values index an embedding as they are."""
    placeholders = [node for node in network.module.graph.nodes if node.op == "placeholder"]
    inputs = tuple(
        spec if spec.dtype.is_floating_point else replace(spec, table_rows=_fewest_rows(network.module, node))
        for spec, node in zip(network.inputs, placeholders, strict=True)
    )
    return replace(network, inputs=inputs)


def _fewest_rows(module: fx.GraphModule, source: fx.Node) -> int | None:
    rows = []
    for user in source.users:
        if user.target is aten.embedding.default and user.args[1] is source:
            table = user.args[0]
            if isinstance(table, fx.Node) and table.op == "get_attr":
                rows.append(_attribute(module, str(table.target)).shape[0])
        elif user.target in _PASS_IDS_ON and (found := _fewest_rows(module, user)) is not None:
            rows.append(found)
    return min(rows, default=None)


def _attribute(module: fx.GraphModule, target: str) -> Tensor:
    parent, _, name = target.rpartition(".")
    value = getattr(module.get_submodule(parent), name)
    assert isinstance(value, Tensor)
    return value
