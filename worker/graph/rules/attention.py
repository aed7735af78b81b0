"""Scaled dot-product attention: whole heads go."""

from worker.graph.rules.contraction import multiply
from worker.graph.rules.meeting import meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value


@rule("scaled_dot_product_attention.default")
def _attention(op: Op) -> Flow:
    query, key, value = op.value("query"), op.value("key"), op.value("value")
    mask = op.flow("attn_mask")
    if op.constant("enable_gqa", False) or (isinstance(mask, Value) and not mask.is_plain):
        return op.unknown("attention with grouped queries or a pruned mask has no rule yet")
    ledger, last = op.ledger, len(query.shape) - 1
    # The scale is taken from the width of a head, so that width stays.
    query, key, value = (ledger.freeze(operand, last) for operand in (query, key, value))
    turned = Value((*key.shape[:-2], key.shape[-1], key.shape[-2]), key.labels.swapaxes(-1, -2))
    scores = multiply(op, query, turned, (*query.shape[:-1], key.shape[-2]))
    if mask is not None:
        scores = meet(ledger, [scores, op.as_value(mask)], scores.shape)
    return multiply(op, scores, value, op.shape)
