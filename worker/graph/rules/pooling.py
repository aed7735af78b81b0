"""Ops on the positions of an image: channels pass, positions stay."""

from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value


@rule(
    *("max_pool1d.default", "max_pool2d.default", "max_pool3d.default", "max_pool2d_with_indices.default"),
    *("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default", "_adaptive_avg_pool2d.default"),
    *("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default"),
    *("adaptive_max_pool1d.default", "adaptive_max_pool2d.default"),
    *("upsample_nearest1d.default", "upsample_nearest1d.vec", "upsample_nearest2d.default", "upsample_nearest2d.vec"),
    *("upsample_nearest3d.vec", "upsample_linear1d.vec", "upsample_bilinear2d.default", "upsample_bilinear2d.vec"),
    *("upsample_bicubic2d.default", "upsample_bicubic2d.vec", "upsample_trilinear3d.vec"),
    *("_upsample_nearest_exact2d.vec", "_upsample_bilinear2d_aa.vec"),
    *("reflection_pad1d.default", "reflection_pad2d.default", "replication_pad1d.default", "replication_pad2d.default"),
)
def _spatial(op: Op) -> Flow:
    value = op.value("self" if "self" in op.arguments else "input")
    name = op.name
    spatial = 1 if "1d" in name else (3 if "3d" in name else 2)
    for axis in range(len(value.shape) - spatial, len(value.shape)):
        value = op.ledger.freeze(value, axis)
    if op.makes_several:
        return tuple(Value(shape, value.labels) for shape in op.shapes)
    return Value(op.shape, value.labels)


@rule("channel_shuffle.default", "native_channel_shuffle.default")
def _channel_shuffle(op: Op) -> Flow:
    value, groups = op.value("self"), op.constant("groups")
    rows = op.ledger.axis_labels(value, 1).reshape(groups, -1)
    op.ledger.tie(rows, rows[:1])
    return Value.along(op.shape, 1, rows.T.reshape(-1))


@rule("pixel_shuffle.default")
def _pixel_shuffle(op: Op) -> Flow:
    value, factor = op.value("self"), op.constant("upscale_factor")
    axis = len(value.shape) - 3
    blocks = op.ledger.axis_labels(value, axis).reshape(-1, factor * factor)
    op.ledger.tie(blocks, blocks[:, :1])
    return Value.along(op.shape, axis, blocks[:, 0])
