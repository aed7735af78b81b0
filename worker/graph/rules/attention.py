"""Scaled dot-product attention: whole heads go, or with grouped queries whole key-value groups."""

from worker.graph.rules.contraction import Factor, contract
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, Removal, rewrite, rule
from worker.graph.values import Flow, Value, Weight, count_kept

_BATCH = "abcefg"


@rule("scaled_dot_product_attention.default")
def _attention(op: Op) -> Flow:
    ledger, query = op.ledger, op.value("query")
    key, value = (_repeated(op.value(name), query) for name in ("key", "value"))
    last, batch = len(query.shape) - 1, _BATCH[: len(query.shape) - 2]
    # Of several heads whole ones go. One head may lose width: the scale is then given in numbers.
    query, key, value = (
        ledger.freeze(operand, last) if len(operand.tracked) > 1 else operand for operand in (query, key, value)
    )
    scores = contract(op, Factor(query, batch + "qd"), Factor(key, batch + "kd"), batch + "qk")
    mask = op.flow("attn_mask")
    if isinstance(mask, Weight):
        scores = adopt(ledger, mask, scores)
    elif mask is not None:
        scores = meet(ledger, [scores, op.as_value(mask)], scores.shape)
    return contract(op, Factor(scores, batch + "qk"), Factor(value, batch + "kw"), batch + "qw")


def _repeated(value: Value, query: Value) -> Value:
    """Keys or values for all heads: each belongs to as many queries one after another (`enable_gqa`)."""
    axis = len(query.shape) - 3
    if axis < 0 or len(value.shape) != len(query.shape) or value.shape[axis] in (1, query.shape[axis]):
        return value
    times = query.shape[axis] // value.shape[axis]
    shape = (*value.shape[:axis], query.shape[axis], *value.shape[axis + 1 :])
    return Value(shape, value.labels.repeat(times, axis) if value.labels.shape[axis] > 1 else value.labels)


@rewrite("scaled_dot_product_attention.default")
def _keep_scale(removal: Removal) -> None:
    query = removal.value("query")
    if query is None or removal.arguments.get("scale") is not None:
        return
    width = query.shape[-1]
    if count_kept(query, len(query.shape) - 1, removal.keep) != width:
        removal.set("scale", width**-0.5)
