"""Each op answers as ONNX Runtime does. Graphs are ONNX's own text form."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.worker.formats.onnx.reading import onnxruntime_answers, parsed, random_images, read_proto

IMAGE = "agraph (float[N, 8, 6, 6] x) => (float y)"

ON_IMAGES = {
    "remainder": "n = Constant<value_float=0.7>() a = Abs(x) y = Mod<fmod=1>(a, n)",
    "product of values": "a = Constant<value_ints=[1, -1]>() y = ReduceProd(x, a)",
    "triangles": "a = Trilu(x) k = Constant<value_int=1>() b = Trilu<upper=0>(x, k) y = Sub(a, b)",
    "running sum": "a = Constant<value_int=2>() y = CumSum(x, a)",
    "largest values": "k = Constant<value_ints=[3]>() y, i = TopK<axis=1>(x, k)",
    "positions of the largest": "k = Constant<value_ints=[3]>() v, i = TopK<axis=1>(x, k) y = Cast<to=1>(i)",
    "backwards": "s = Constant<value_ints=[-1]>() e = Constant<value_ints=[-9223372036854775808]>() "
    "a = Constant<value_ints=[3]>() y = Slice(x, s, e, a, s)",
    "outer product": 'y = Einsum<equation="nchw,nchv->ncwv">(x, x)',
    "not a number": "z = Sub(x, x) q = Div(z, z) i = IsNaN(q) y = Cast<to=1>(i)",
    "last value of an axis": "i = Constant<value_int=-1>() y = Gather<axis=3>(x, i)",
    "max pool, uneven pads": "y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]>(x)",
    "max pool, wide pads": "y = MaxPool<kernel_shape=[2,2], pads=[1,1,1,1], strides=[2,2]>(x)",
    "max pool, ceil": "y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)",
    "max pool, dilated": "y = MaxPool<kernel_shape=[2,2], dilations=[2,2]>(x)",
    "max pool, same": 'y = MaxPool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER">(x)',
    "average pool": "y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x)",
    "average pool, pads left out": "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)",
    "average pool, pads counted": "y = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)",
    "average pool, ceil": "y = AveragePool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)",
    "average pool, uneven": "y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1]>(x)",
    "average pool, same": 'y = AveragePool<kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_LOWER">(x)',
    "average pool, uneven, counted": "y = AveragePool<kernel_shape=[3,3], pads=[0,0,1,1], count_include_pad=1>(x)",
    "global pools": "a = GlobalAveragePool(x) b = GlobalMaxPool(x) y = Add(a, b)",
    "local response norm": "y = LRN<size=3, alpha=0.1, beta=0.5, bias=2.0>(x)",
    "depth to space, DCR": "y = DepthToSpace<blocksize=2>(x)",
    "depth to space, CRD": 'y = DepthToSpace<blocksize=2, mode="CRD">(x)',
    "space to depth": "y = SpaceToDepth<blocksize=2>(x)",
    "transpose reversed": "a = Transpose(x) y = Transpose(a)",
    "flatten, negative axis": "y = Flatten<axis=-3>(x)",
    "flatten from 2": "y = Flatten<axis=2>(x)",
    "split, last part smaller": "a, b, c = Split<axis=1, num_outputs=3>(x) y = Concat<axis=1>(c, b, a)",
    "softmax": "y = Softmax<axis=1>(x)",
    "log softmax": "y = LogSoftmax<axis=-1>(x)",
    "hard sigmoid": "y = HardSigmoid(x)",
    "hard sigmoid, of torch": "y = HardSigmoid<alpha=0.1666666716337204, beta=0.5>(x)",
    "selu": "y = Selu(x)",
    "elu": "y = Elu<alpha=0.5>(x)",
    "celu": "y = Celu<alpha=0.5>(x)",
    "gelu, tanh": 'y = Gelu<approximate="tanh">(x)',
    "mish": "y = Mish(x)",
    "softsign": "y = Softsign(x)",
    "hard swish": "y = HardSwish(x)",
    "squares of roots": "a = Abs(x) b = Sqrt(a) y = Mul(b, b)",
    "logic": "z = Constant<value_float=0.0>() a = Less(x, z) b = GreaterOrEqual(x, z) c = Or(a, b) y = Cast<to=1>(c)",
    "where": "z = Constant<value_float=0.5>() a = Greater(x, z) y = Where(a, x, z)",
    "clip below": "z = Constant<value_float=0.0>() y = Clip(x, z)",
    "clip above": "z = Constant<value_float=0.0>() y = Clip(x, , z)",
    "min and max": "z = Constant<value_float=0.1>() a = Min(x, z) n = Neg(x) y = Max(z, a, n)",
    "powers": "p = Constant<value_float=3.0>() y = Pow(x, p)",
    "number first": "one = Constant<value_float=1.0>() a = Abs(x) b = Add(a, one) y = Div(one, b)",
    "dropout": "r = Constant<value_float=0.3>() y = Dropout(x, r)",
    "mean over positions": "a = Constant<value_ints=[2,3]>() y = ReduceMean<keepdims=0>(x, a)",
    "sum over channels": "a = Constant<value_ints=[-3]>() y = ReduceSum(x, a)",
    "norms": "a = Constant<value_ints=[1]>() b = ReduceL2(x, a) c = ReduceL1(x, a) d = ReduceLogSumExp(x, a) "
    "e = ReduceSumSquare(x, a) f = Max(b, c) g = Max(d, e) y = Add(f, g)",
    "extremes": "a = Constant<value_ints=[2]>() b = ReduceMax(x, a) c = ReduceMin(x, a) y = Sub(b, c)",
    "argmax": "a = ArgMax<axis=1>(x) y = Cast<to=1>(a)",
    "reshape, zeros": "s = Constant<value_ints=[0,2,-1,0]>() y = Reshape(x, s)",
    "reshape, computed": "h = Shape(x) i = Constant<value_ints=[0]>() n = Gather(h, i) "
    "r = Constant<value_ints=[2,-1]>() s = Concat<axis=0>(n, r) y = Reshape(x, s)",
    "reshape, part of the shape": "n = Shape<start=0, end=1>(x) r = Constant<value_ints=[-1]>() "
    "s = Concat<axis=0>(n, r) y = Reshape(x, s)",
    "slice, steps": "s = Constant<value_ints=[1,-4]>() e = Constant<value_ints=[9223372036854775807,-1]>() "
    "a = Constant<value_ints=[2,1]>() t = Constant<value_ints=[2,1]>() y = Slice(x, s, e, a, t)",
    "gather one": "i = Constant<value_int=-2>() y = Gather<axis=1>(x, i)",
    "gather several": "i = Constant<value_ints=[5,6,0,-1]>() y = Gather<axis=1>(x, i)",
    "squeeze and unsqueeze": "a = Constant<value_ints=[0,-1]>() b = Unsqueeze(x, a) c = Constant<value_ints=[-1,0]>() "
    "y = Squeeze(b, c)",
    "expand": "a = GlobalAveragePool(x) s = Constant<value_ints=[1,1,6,6]>() y = Expand(a, s)",
    "expand, fewer dimensions": "a = GlobalAveragePool(x) s = Constant<value_ints=[6,1]>() y = Expand(a, s)",
    "tile": "r = Constant<value_ints=[1,2,1,3]>() y = Tile(x, r)",
    "pad, constant": "p = Constant<value_ints=[0,1,0,2,0,0,3,0]>() v = Constant<value_float=1.5>() y = Pad(x, p, v)",
    "pad, reflect": 'p = Constant<value_ints=[0,0,1,2,0,0,2,1]>() y = Pad<mode="reflect">(x, p)',
    "pad, edge": 'p = Constant<value_ints=[0,0,1,2,0,0,2,1]>() y = Pad<mode="edge">(x, p)',
    "pad, axes": "p = Constant<value_ints=[1,2]>() a = Constant<value_ints=[3]>() y = Pad(x, p, , a)",
    "pad, cropping": "p = Constant<value_ints=[0,0,-1,0,0,0,0,-2]>() y = Pad(x, p)",
    "resize, nearest": 's = Constant<value_floats=[1.0,1.0,2.0,3.0]>() '
    'y = Resize<mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor">(x, , s)',
    "resize, nearest of onnx": "s = Constant<value_floats=[1.0,1.0,2.0,2.0]>() y = Resize(x, , s)",
    "resize, linear": 's = Constant<value_ints=[3,8,9,4]>() y = Resize<mode="linear">(x, , , s)',
    "resize, aligned": 's = Constant<value_floats=[1.0,1.0,2.0,2.0]>() '
    'y = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , s)',
    "matmul of data": "t = Transpose<perm=[0,1,3,2]>(x) y = MatMul(x, t)",
    "cast like": "i = Cast<to=7>(x) y = CastLike(i, x)",
    "integer division": "i = Cast<to=7>(x) k = Constant<value_int=10>() j = Mul(i, k) d = Constant<value_int=3>() "
    "q = Div(j, d) y = Cast<to=1>(q)",
    "identity and sum": "a = Identity(x) y = Sum(a, x, x)",
}  # fmt: skip


@pytest.mark.parametrize("body", ON_IMAGES.values(), ids=ON_IMAGES.keys())
def test_op_answers_as_onnxruntime_does(body: str, tmp_path: Path) -> None:
    model = parsed(f"{IMAGE} {{ {body} }}")
    x = random_images(3, 8, 6, 6)
    (expected,) = onnxruntime_answers(model, x)
    network = read_proto(model, tmp_path)
    (answer,) = network(torch.from_numpy(x))
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


OLD_FORMS = {
    "slice of attributes": (9, "y = Slice<axes=[2], starts=[1], ends=[5]>(x)"),
    "pad of attributes": (9, "y = Pad<pads=[0,0,1,1,0,0,2,2], value=0.5>(x)"),
    "clip of attributes": (9, "y = Clip<min=-0.5, max=0.5>(x)"),
    "split of attributes": (11, "a, b = Split<axis=1, split=[3,5]>(x) y = Concat<axis=1>(b, a)"),
    "squeeze of attributes": (11, "a = Unsqueeze<axes=[1,5]>(x) y = Squeeze<axes=[1,-1]>(a)"),
    "mean of attributes": (13, "y = ReduceMean<axes=[2,3]>(x)"),
    "upsample": (9, "s = Constant<value=float[4] {1,1,2,2}>() y = Upsample(x, s)"),
    "resize of opset 10": (10, "s = Constant<value=float[4] {1,1,2,2}>() y = Resize(x, s)"),
    "softmax of opset 11": (11, "y = Softmax<axis=3>(x)"),
    "dropout of attributes": (11, "y = Dropout<ratio=0.25>(x)"),
}


@pytest.mark.parametrize(("opset", "body"), OLD_FORMS.values(), ids=OLD_FORMS.keys())
def test_old_form_of_op_answers_as_onnxruntime_does(opset: int, body: str, tmp_path: Path) -> None:
    model = parsed(f"{IMAGE} {{ {body} }}", opset)
    x = random_images(3, 8, 6, 6)
    (expected,) = onnxruntime_answers(model, x)
    (answer,) = read_proto(model, tmp_path)(torch.from_numpy(x))
    np.testing.assert_allclose(answer.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


WITH_WEIGHTS = {
    "conv, same upper": ('y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, w)', {"w": (4, 8, 3, 3)}),
    "conv, same lower, even kernel": ('y = Conv<auto_pad="SAME_LOWER">(x, w, b)', {"w": (4, 8, 2, 2), "b": (4,)}),
    "conv, valid": ('y = Conv<auto_pad="VALID">(x, w)', {"w": (4, 8, 3, 3)}),
    "conv, uneven pads": ("y = Conv<pads=[0,1,2,1], dilations=[1,2]>(x, w)", {"w": (4, 8, 3, 2)}),
    "conv, grouped": ("y = Conv<group=4, pads=[1,1,1,1]>(x, w, b)", {"w": (8, 2, 3, 3), "b": (8,)}),
    "conv, one output": ("y = Conv(x, w, b)", {"w": (1, 8, 1, 1), "b": (1,)}),
    "conv, 1-d": (
        "s = Constant<value_ints=[0,8,36]>() f = Reshape(x, s) y = Conv<strides=[2]>(f, w)",
        {"w": (4, 8, 3)},
    ),
    "conv, 3-d": ("a = Constant<value_ints=[2]>() f = Unsqueeze(x, a) y = Conv(f, w)", {"w": (4, 8, 1, 3, 3)}),
    "conv transpose": (
        "y = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1], group=2>(x, w, b)",
        {"w": (8, 3, 3, 3), "b": (6,)},
    ),
    "batch norm": (
        "y = BatchNormalization<epsilon=0.01>(x, s, b, m, v)",
        {"s": (8,), "b": (8,), "m": (8,), "v": (8,)},
    ),
    "instance norm": ("y = InstanceNormalization(x, s, b)", {"s": (8,), "b": (8,)}),
    "layer norm": ("y = LayerNormalization<axis=2>(x, s, b)", {"s": (6, 6), "b": (6, 6)}),
    "prelu": ("y = PRelu(x, s)", {"s": (8, 1, 1)}),
    "prelu, one slope": ("y = PRelu(x, s)", {"s": (1,)}),
    "gemm": ("f = Flatten(x) y = Gemm(f, w, b)", {"w": (288, 5), "b": (5,)}),
    "gemm, scaled": (
        "f = Flatten(x) y = Gemm<transB=1, alpha=0.5, beta=2.0>(f, w, b)",
        {"w": (5, 288), "b": (1, 5)},
    ),
    "matmul and add": ("y0 = MatMul(x, w) y = Add(y0, b)", {"w": (6, 5), "b": (5,)}),
    "matmul, constant on the left": ("y = MatMul(w, x)", {"w": (6, 6)}),
    "matmul, batch of matrices": ("y = MatMul(x, w)", {"w": (8, 6, 3)}),
    "weight behind a transpose": ("t = Transpose<perm=[1,0]>(w) y = MatMul(x, t)", {"w": (5, 6)}),
    "weight beside its transpose": (
        "t = Transpose<perm=[1,0]>(w) a = MatMul(x, w) b = MatMul(x, t) c = Add(b, b) y = Sub(a, c)",
        {"w": (6, 6)},
    ),
    "weight behind an identity": ("t = Identity(w) y = Conv(x, t)", {"w": (4, 8, 1, 1)}),
    "normalised input": ("c = Sub(x, m) y = Div(c, s)", {"m": (1, 8, 1, 1), "s": (1, 8, 1, 1)}),
}


@pytest.mark.parametrize(("body", "weights"), WITH_WEIGHTS.values(), ids=WITH_WEIGHTS.keys())
def test_op_with_weights_answers_as_onnxruntime_does(
    body: str, weights: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    model = parsed(f"{IMAGE} {{ {body} }}")
    random = np.random.default_rng(1)
    for name, shape in weights.items():
        values = random.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    x = random_images(3, 8, 6, 6)
    (expected,) = onnxruntime_answers(model, x)
    network = read_proto(model, tmp_path)
    (answer,) = network(torch.from_numpy(x))
    np.testing.assert_allclose(answer.detach().numpy(), expected, rtol=1e-4, atol=1e-4)
