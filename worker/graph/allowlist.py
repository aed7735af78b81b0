"""Which functions a graph may call. The readers of uploads refuse everything else by name.

An upload chooses ops and their arguments, so an op belongs here only if, whatever its arguments, it computes a value
from its tensor arguments and nothing else: no files (`aten.from_file`), no uninitialised memory (`aten.empty`,
`aten.resize_`), no raw strides (`aten.as_strided`), no randomness, no devices. Recurrent layers are no such functions
by themselves: `worker.graph.cleaning.split_recurrent` makes them so. Memory is bounded by the limits of the process
that runs the graph. In-place overloads are accepted and made functional by `worker.graph.cleaning`.

An op may be here without a rule in `worker.graph.rules`: such an op runs, and pins the channels it touches.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["ATEN_OVERLOADS", "OPERATOR_FUNCTIONS", "aten_overload"]

_CONTRACTION = """
conv1d.default conv1d.padding conv2d.default conv2d.padding conv3d.default conv3d.padding convolution.default
conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input
linear.default matmul.default mm.default bmm.default addmm.default baddbmm.default mv.default
addmv.default dot.default vdot.default inner.default outer.default tensordot.default einsum.default cdist.default
_euclidean_dist.default embedding.default embedding_bag.default embedding_bag.padding_idx
scaled_dot_product_attention.default
"""

_RECURRENT = """
lstm.input gru.input rnn_tanh.input rnn_relu.input
"""

_NORMALIZATION = """
batch_norm.default native_batch_norm.default _native_batch_norm_legit.default
_native_batch_norm_legit_no_training.default
_native_batch_norm_legit_functional.default _native_batch_norm_legit.no_stats cudnn_batch_norm.default
layer_norm.default native_layer_norm.default group_norm.default native_group_norm.default instance_norm.default
rms_norm.default _fused_rms_norm.default cosine_similarity.default _weight_norm.default _weight_norm_interface.default
"""

_POOLING = """
max_pool1d.default max_pool2d.default max_pool3d.default max_pool1d_with_indices.default
max_pool2d_with_indices.default max_pool3d_with_indices.default
avg_pool1d.default avg_pool2d.default avg_pool3d.default
adaptive_avg_pool1d.default adaptive_avg_pool2d.default adaptive_avg_pool3d.default _adaptive_avg_pool2d.default
_adaptive_avg_pool3d.default adaptive_max_pool1d.default adaptive_max_pool2d.default adaptive_max_pool3d.default
upsample_nearest1d.default upsample_nearest1d.vec upsample_nearest2d.default upsample_nearest2d.vec
upsample_nearest3d.default upsample_nearest3d.vec upsample_linear1d.default upsample_linear1d.vec
upsample_bilinear2d.default upsample_bilinear2d.vec upsample_bicubic2d.default upsample_bicubic2d.vec
upsample_trilinear3d.default upsample_trilinear3d.vec
_upsample_nearest_exact1d.default _upsample_nearest_exact1d.vec _upsample_nearest_exact2d.default
_upsample_nearest_exact2d.vec _upsample_nearest_exact3d.default _upsample_nearest_exact3d.vec
_upsample_bilinear2d_aa.default _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa.default _upsample_bicubic2d_aa.vec
grid_sampler.default grid_sampler_2d.default grid_sampler_3d.default
pixel_shuffle.default pixel_unshuffle.default channel_shuffle.default native_channel_shuffle.default
im2col.default col2im.default unfold.default
"""

_POINTWISE = """
abs.default acos.default asin.default atan.default atan2.default ceil.default floor.default round.default
trunc.default frac.default sign.default neg.default exp.default exp2.default expm1.default log.default log2.default
log10.default log1p.default sqrt.default rsqrt.default reciprocal.default square.default sin.default cos.default
tan.default sinh.default cosh.default tanh.default asinh.default acosh.default atanh.default erf.default erfc.default
erfinv.default sigmoid.default log_sigmoid.default logit.default sinc.default sgn.default signbit.default
add.Tensor add.Scalar sub.Tensor sub.Scalar rsub.Tensor rsub.Scalar mul.Tensor mul.Scalar div.Tensor div.Scalar
div.Tensor_mode div.Scalar_mode true_divide.Tensor floor_divide.default remainder.Tensor remainder.Scalar
fmod.Tensor fmod.Scalar pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar
hypot.default logaddexp.default logaddexp2.default xlogy.Tensor copysign.Tensor fmax.default fmin.default
maximum.default minimum.default max.other min.other clip.default clip.Tensor clamp.default clamp.Tensor
clamp_min.default clamp_min.Tensor clamp_max.default clamp_max.Tensor addcmul.default addcdiv.default
lerp.Scalar lerp.Tensor
relu.default relu6.default leaky_relu.default prelu.default elu.default selu.default celu.default gelu.default
silu.default mish.default softplus.default hardtanh.default hardswish.default hardsigmoid.default threshold.default
softshrink.default hardshrink.default _prelu_kernel.default heaviside.default
eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor
ge.Scalar logical_and.default logical_or.default logical_not.default logical_xor.default
bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor bitwise_or.Scalar bitwise_xor.Tensor bitwise_not.default
__and__.Tensor __or__.Tensor __xor__.Tensor __and__.Scalar __or__.Scalar
isnan.default isinf.default isfinite.default nan_to_num.default
where.self where.ScalarOther where.ScalarSelf where.Scalar masked_fill.Scalar masked_fill.Tensor
relu_.default relu6_.default leaky_relu_.default gelu_.default elu_.default selu_.default celu_.default silu_.default
mish_.default
hardtanh_.default hardswish_.default hardsigmoid_.default sigmoid_.default tanh_.default threshold_.default
add_.Tensor add_.Scalar sub_.Tensor sub_.Scalar mul_.Tensor mul_.Scalar div_.Tensor div_.Scalar pow_.Scalar
clamp_.default clamp_min_.default clamp_max_.default masked_fill_.Scalar masked_fill_.Tensor neg_.default exp_.default
sqrt_.default rsqrt_.default abs_.default log_.default square_.default reciprocal_.default round_.default
floor_.default clamp_.Tensor addcmul_.default addcdiv_.default lerp_.Scalar lerp_.Tensor pow_.Tensor sub_.Tensor
copy.default copy_.default
"""

_REDUCTION = """
mean.default mean.dim sum.default sum.dim_IntList prod.default prod.dim_int var.default var.dim var.correction
std.default std.dim std.correction var_mean.correction var_mean.dim
amax.default amin.default max.default max.dim min.default min.dim argmax.default argmin.default any.default any.dim
all.default all.dim logsumexp.default cumsum.default cumprod.default cummax.default cummin.default
logcumsumexp.default diff.default norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype linalg_vector_norm.default
nansum.default count_nonzero.dim_IntList std_mean.dim std_mean.correction aminmax.default median.default median.dim
mode.default kthvalue.default argsort.default argsort.stable sort.stable
softmax.int _softmax.default log_softmax.int _log_softmax.default _safe_softmax.default glu.default
topk.default sort.default
"""

_SHAPE = """
view.default _unsafe_view.default reshape.default view_as.default reshape_as.default flatten.using_ints ravel.default
unflatten.int permute.default transpose.int t.default numpy_T.default mT.default movedim.int movedim.intlist
moveaxis.int moveaxis.intlist swapaxes.default swapdims.default
squeeze.default squeeze.dim squeeze.dims unsqueeze.default expand.default expand_as.default broadcast_to.default
atleast_1d.default atleast_2d.default atleast_3d.default
repeat.default tile.default repeat_interleave.self_int meshgrid.default meshgrid.indexing broadcast_tensors.default
select.int slice.Tensor narrow.default cat.default concat.default concatenate.default stack.default hstack.default
vstack.default split.Tensor split.sizes split_with_sizes.default chunk.default unsafe_chunk.default unsafe_split.Tensor
unbind.int tensor_split.sections tensor_split.indices
pad.default constant_pad_nd.default reflection_pad1d.default reflection_pad2d.default reflection_pad3d.default
replication_pad1d.default replication_pad2d.default replication_pad3d.default
roll.default flip.default fliplr.default flipud.default tril.default triu.default diagonal.default
index.Tensor index_select.default gather.default take_along_dim.default
index_add.default index_copy.default index_fill.int_Scalar slice_scatter.default select_scatter.default
scatter.src scatter.value scatter_add.default masked_scatter.default index_put.default
"""

_IDENTITY = """
contiguous.default clone.default alias.default detach.default detach_.default lift_fresh_copy.default
dropout.default dropout_.default native_dropout.default feature_dropout.default alpha_dropout.default
to.dtype to.dtype_layout to.other _to_copy.default type_as.default
_assert_tensor_metadata.default _assert_scalar.default _assert_async.msg sym_constrain_range_for_size.default
sym_constrain_range.default
"""

_CONSTANT = """
sym_size.int sym_numel.default arange.default arange.start arange.start_step full.default full_like.default
zeros.default zeros_like.default ones.default ones_like.default new_zeros.default new_ones.default new_full.default
scalar_tensor.default linspace.default eye.default eye.m one_hot.default fill.Scalar fill_.Scalar fill.Tensor
fill_.Tensor tril_indices.default triu_indices.default bucketize.Tensor searchsorted.Tensor isin.Tensor_Tensor
zero.default zero_.default
"""

ATEN_OVERLOADS: frozenset[str] = frozenset(
    f"aten.{name}"
    for family in (
        _CONTRACTION,
        _RECURRENT,
        _NORMALIZATION,
        _POOLING,
        _POINTWISE,
        _REDUCTION,
        _SHAPE,
        _IDENTITY,
        _CONSTANT,
    )
    for name in family.split()
)
"""Names of accepted overloads, in the form `aten.conv2d.default`."""

OPERATOR_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in [
        "getitem",
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
    ]
}
"""Python functions on sizes and tuples, by name. `pow` is not among them: it makes huge integers from small ones."""


def aten_overload(name: str) -> torch._ops.OpOverload | None:
    """The overload called `name`, or None when it is not allowed or this torch does not have it."""
    if name not in ATEN_OVERLOADS:
        return None
    _, packet, overload = name.split(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None)
    return found if isinstance(found, torch._ops.OpOverload) else None
