"""Ops that combine entries at the same position: what meets goes together."""

import torch

from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value, Weight

__all__ = ["is_pointwise", "pointwise"]


def is_pointwise(overload: torch._ops.OpOverload) -> bool:
    """Whether PyTorch itself declares the op pointwise. Ops without the tag that are so are listed below."""
    return torch.Tag.pointwise in overload.tags


@rule(
    *("log_sigmoid.default", "rsub.Tensor", "floor_divide.default", "hardswish.default"),
    *("min.other", "max.other", "fill.Tensor", "copy.default", "square.default", "clip.default", "clip.Tensor"),
    *("__and__.Tensor", "__or__.Tensor", "where.ScalarOther", "where.ScalarSelf", "where.Scalar", "masked_fill.Tensor"),
    *("dropout.default", "feature_dropout.default", "alpha_dropout.default"),
    *("contiguous.default", "clone.default", "alias.default", "detach.default", "lift_fresh_copy.default"),
    *("to.dtype", "to.dtype_layout", "to.other", "_to_copy.default", "type_as.default", "fill.Scalar"),
    *("zero.default", "zeros_like.default", "ones_like.default", "full_like.default"),
)
def pointwise(op: Op) -> Flow:
    flows = op.operands()
    weights = [flow for flow in flows if isinstance(flow, Weight)]
    values = [flow for flow in flows if isinstance(flow, Value)]
    if not values:
        if len(flows) == 1 and weights and weights[0].shape == op.shape:
            # A function of one parameter, entry by entry, is still that parameter.
            return weights[0]
        for weight in weights:
            op.ledger.pin_weight(weight)
        return Value.plain(op.shape)
    result = meet(op.ledger, values, op.shape)
    for weight in weights:
        result = adopt(op.ledger, weight, result)
    return result


@rule("prelu.default")
def _prelu(op: Op) -> Flow:
    value, weight = op.value("self"), op.weight("weight")
    if weight is None:
        return op.unknown("the slope of a prelu is computed in the graph")
    if weight.shape != (1,) and len(value.shape) > 1:
        op.ledger.claim_axis(weight, 0, op.ledger.axis_labels(value, 1))
    return Value(op.shape, value.labels)
