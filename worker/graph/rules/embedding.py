"""Tables that are looked up: their columns are channels, their rows stay."""

from worker.graph.rules.layer import note_layer
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Labels, Value


@rule("embedding.default")
def _embedding(op: Op) -> Flow:
    columns = _columns(op)
    if columns is None:
        return op.unknown("the table of an embedding is computed in the graph")
    return Value.along(op.shape, len(op.shape) - 1, columns)


@rule("embedding_bag.default", "embedding_bag.padding_idx")
def _embedding_bag(op: Op) -> Flow:
    columns = _columns(op)
    if columns is None:
        return op.unknown("the table of an embedding is computed in the graph")
    bags, *rest = op.shapes
    for name in ("offsets", "per_sample_weights"):
        if op.flow(name) is not None:
            op.plain(op.flow(name))
    return (Value.along(bags, len(bags) - 1, columns), *(Value.plain(shape) for shape in rest))


def _columns(op: Op) -> Labels | None:
    table = op.weight("weight")
    if table is None or table.axes[1] is None:
        return None
    op.plain(op.flow("indices"))
    op.ledger.hold(table, 0)
    note_layer(op, table, 1)
    return op.ledger.output_labels(table, 1)
