"""Ops on the positions of an image: channels pass, positions stay."""

from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value

_SPATIAL = (
    *("max_pool1d.default", "max_pool2d.default", "max_pool3d.default", "max_pool2d_with_indices.default"),
    *("max_pool1d_with_indices.default", "max_pool3d_with_indices.default"),
    *("avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default", "_adaptive_avg_pool2d.default"),
    *("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default"),
    *("adaptive_max_pool1d.default", "adaptive_max_pool2d.default", "adaptive_max_pool3d.default"),
    *("_adaptive_avg_pool3d.default", "upsample_linear1d.default", "upsample_linear1d.vec"),
    *("upsample_bilinear2d.default", "upsample_bilinear2d.vec", "_upsample_bilinear2d_aa.default"),
    *("_upsample_bilinear2d_aa.vec", "upsample_bicubic2d.default", "upsample_bicubic2d.vec"),
    *("_upsample_bicubic2d_aa.default", "_upsample_bicubic2d_aa.vec"),
    *("upsample_trilinear3d.default", "upsample_trilinear3d.vec"),
    *(f"upsample_nearest{n}d.{form}" for n in (1, 2, 3) for form in ("default", "vec")),
    *(f"_upsample_nearest_exact{n}d.{form}" for n in (1, 2, 3) for form in ("default", "vec")),
    *(f"{kind}_pad{n}d.default" for kind in ("reflection", "replication") for n in (1, 2, 3)),
)


@rule(*_SPATIAL)
def _spatial(op: Op) -> Flow:
    name = "self" if "self" in op.arguments else "input"
    spatial = 1 if "1d" in op.name else (3 if "3d" in op.name else 2)
    weight = op.weight(name)
    if weight is not None and not op.makes_several:
        # Positions of a parameter, as of learnt position embeddings.
        kept = len(weight.shape) - spatial
        for axis in range(kept, len(weight.shape)):
            op.ledger.hold(weight, axis)
        return weight.viewed(op.shape, (*weight.axes[:kept], *(None for _ in range(spatial))))
    value = op.value(name)
    value = op.kept(value, range(len(value.shape) - spatial, len(value.shape)))
    if op.makes_several:
        return tuple(Value(shape, value.labels) for shape in op.shapes)
    return Value(op.shape, value.labels)


@rule("grid_sampler.default", "grid_sampler_2d.default", "grid_sampler_3d.default")
def _sample(op: Op) -> Flow:
    value = op.value("input")
    op.plain(op.flow("grid"))
    return Value.along(op.shape, 1, op.ledger.axis_labels(value, 1))


@rule("channel_shuffle.default", "native_channel_shuffle.default")
def _channel_shuffle(op: Op) -> Flow:
    value, groups = op.value("self"), op.constant("groups")
    rows = op.ledger.axis_labels(value, 1).reshape(groups, -1)
    op.ledger.tie(rows, rows[:1])
    return Value.along(op.shape, 1, rows.T.reshape(-1))


@rule("pixel_shuffle.default")
def _pixel_shuffle(op: Op) -> Flow:
    return _gathered(op, op.constant("upscale_factor") ** 2, len(op.shape) - 3)


@rule("col2im.default")
def _fold(op: Op) -> Flow:
    height, width = op.constant("kernel_size")
    return _gathered(op, height * width, len(op.shape) - 3)


def _gathered(op: Op, times: int, axis: int) -> Flow:
    """`times` channels one after another become one, along the same axis."""
    blocks = op.ledger.axis_labels(op.value("self"), axis).reshape(-1, times)
    op.ledger.tie(blocks, blocks[:, :1])
    return Value.along(op.shape, axis, blocks[:, 0])


@rule("pixel_unshuffle.default")
def _pixel_unshuffle(op: Op) -> Flow:
    return _scattered(op, op.constant("downscale_factor") ** 2)


@rule("im2col.default")
def _unfold(op: Op) -> Flow:
    height, width = op.constant("kernel_size")
    return _scattered(op, height * width)


def _scattered(op: Op, times: int) -> Flow:
    """Each channel becomes `times` channels one after another."""
    value = op.value("self")
    axis = len(value.shape) - 3
    return Value.along(op.shape, axis, op.ledger.axis_labels(value, axis).repeat(times))


@rule("unfold.default")
def _windows(op: Op) -> Flow:
    """Windows along one axis, whose positions become a new last axis."""
    value = op.value("self")
    value = op.kept(value, [op.constant("dimension") % len(value.shape)])
    return Value(op.shape, value.labels.reshape((*value.labels.shape, 1)))
