"""Files that are not read, and what their owner is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.worker.formats.onnx.reading import LIMITS, parsed, read_proto
from worker.errors import MalformedModel, UnreadableModel, UnsafeModel, UnsupportedModel
from worker.formats.onnx import read_onnx

IO = "agraph (float[N, 4] x) => (float[N, 4] y)"


def linear(weight: np.ndarray | None = None) -> onnx.ModelProto:
    model = parsed(f"{IO} {{ y = Gemm(x, w) }}")
    model.graph.initializer.append(
        numpy_helper.from_array(np.eye(4, dtype=np.float32) if weight is None else weight, "w")
    )
    return model


def edited(edit: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = linear()
    edit(model)
    return model


def with_external_data() -> onnx.ModelProto:
    model = linear()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../../etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return model


def with_subgraph() -> onnx.ModelProto:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["t"])], "b", [], [])
    model = parsed(f"{IO} {{ c = Constant<value=bool {{1}}>() y = Relu(x) }}")
    node = helper.make_node("If", ["c"], ["z"], name="choose", then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    return model


def with_sparse_weight() -> onnx.ModelProto:
    values, indices = (
        numpy_helper.from_array(np.ones(1, np.float32), "s"),
        numpy_helper.from_array(np.zeros(1, np.int64)),
    )
    return edited(lambda m: m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4])))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], type[UnreadableModel], str]] = {
    "external data": (with_external_data, UnsafeModel, "'w'.*another file.*save_as_external_data=False"),
    "external data in an attribute": (
        lambda: edited(lambda m: m.graph.node.append(helper.make_node(
            "Constant", [], ["c"], value=TensorProto(name="t", data_type=1, dims=[1], data_location=1)))),
        UnsafeModel,
        "'value'.*another file",
    ),
    "foreign domain": (
        lambda: edited(lambda m: m.graph.node.append(helper.make_node("Evil", ["x"], ["z"], domain="com.evil"))),
        UnsupportedModel,
        "Evil.*'com.evil'",
    ),
    "local function": (
        lambda: edited(lambda m: m.functions.add(name="f", domain="d")),
        UnsupportedModel,
        "'f'.*inline_local_functions",
    ),
    "sub-graph": (with_subgraph, UnsupportedModel, "If node 'choose' has a sub-graph"),
    "sparse weight": (with_sparse_weight, UnsupportedModel, "sparse"),
    "cycle": (lambda: parsed(f"{IO} {{ a = Add(x, b) b = Relu(a) y = Relu(b) }}"), MalformedModel, "reads 'b' before"),
    "value made twice": (lambda: parsed(f"{IO} {{ y = Relu(x) y = Abs(x) }}"), MalformedModel, "makes 'y'"),
    "output without maker": (lambda: parsed(f"{IO} {{ z = Relu(x) }}"), MalformedModel, "the output 'y'"),
    "unknown ops, all named": (
        lambda: parsed(f"{IO} {{ a = Det(x) b = NonZero(a) y = Relu(x) }}"),
        UnsupportedModel,
        "2 of the model's ops: Det node #0; NonZero node #1",
    ),
    "quantised": (
        lambda: parsed(f"{IO} {{ s = Constant<value_float=1.0>() y = QuantizeLinear(x, s) }}"),
        UnsupportedModel,
        "quantised",
    ),
    "giant constant": (
        lambda: parsed(f"{IO} {{ s = Constant<value_ints=[1000000,1000000]>() c = ConstantOfShape(s) y = Add(x, c) }}"),
        UnsupportedModel,
        "ConstantOfShape.*1000000000000 values",
    ),
    "negative constant": (
        lambda: parsed(f"{IO} {{ s = Constant<value_ints=[-4]>() c = ConstantOfShape(s) y = Add(x, c) }}"),
        MalformedModel,
        "ConstantOfShape",
    ),
    "endless range": (
        lambda: parsed(
            f"{IO} {{ a = Constant<value_int=0>() b = Constant<value_int=9000000000000000000>() "
            "d = Constant<value_int=1>() r = Range(a, b, d) y = Reshape(x, r) }"
        ),
        UnsupportedModel,
        "Range.*values",
    ),
    "range that stands still": (
        lambda: parsed(f"{IO} {{ a = Constant<value_int=0>() r = Range(a, a, a) y = Reshape(x, r) }}"),
        MalformedModel,
        "Range",
    ),
    "giant expansion": (
        lambda: parsed(f"{IO} {{ s = Constant<value_ints=[100000000,1,4]>() y = Expand(x, s) }}"),
        UnreadableModel,
        "Expand",
    ),
    "giant padding": (
        lambda: parsed(f"{IO} {{ p = Constant<value_ints=[0,4000000000,0,4000000000]>() y = Pad(x, p) }}"),
        UnsupportedModel,
        "Pad.*memory limit",
    ),
    "giant input": (
        lambda: parsed("agraph (float[N, 1000000, 1000000] x) => (float[N, 4] y) { y = Relu(x) }"),
        UnsupportedModel,
        "'x'.*memory limit",
    ),
    "old opset": (lambda: parsed(f"{IO} {{ y = Relu(x) }}", 8), UnsupportedModel, "opset 8.*opset 9 to 25"),
    "opset of the future": (lambda: parsed(f"{IO} {{ y = Relu(x) }}", 99), UnsupportedModel, "opset 99"),
    "sequence as input": (
        lambda: edited(lambda m: m.graph.input.append(
            helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None))),
        UnsupportedModel,
        "'q' is no tensor",
    ),
    "free size that the graph does not follow": (
        lambda: parsed("agraph (float[N, L] x, float[N, 16] z) => (float[N, 16] y) { y = Add(x, z) }"),
        UnsupportedModel,
        r"dimension 1 of the input 'x' is free \(L\), but the graph does not follow it",
    ),
    "text as input": (
        lambda: parsed("agraph (string[N] x) => (string[N] y) { y = Identity(x) }"),
        UnsupportedModel,
        "'x' must be float32",
    ),
    "half precision": (lambda: linear(np.eye(4, dtype=np.float16)), UnsupportedModel, "'w' has dtype float16"),
    "double precision": (lambda: linear(np.eye(4)), UnsupportedModel, "'w' in float64"),
    "NaN": (lambda: linear(np.full((4, 4), np.nan, np.float32)), MalformedModel, "'w' holds NaN"),
    "infinite weight": (lambda: linear(np.full((4, 4), np.inf, np.float32)), MalformedModel, "'w'.*infinite"),
    "weight shorter than its shape": (
        lambda: edited(lambda m: m.graph.initializer[0].dims.append(1000000)),
        MalformedModel,
        "'w'.*needs 64000000 bytes and has 64",
    ),
    "weight of negative size": (
        lambda: edited(lambda m: m.graph.initializer[0].dims.extend([-1, -1])),
        MalformedModel,
        "'w' has the shape",
    ),
    "weight that does not fit": (
        lambda: linear(np.ones((3, 4), np.float32)),
        MalformedModel,
        "Gemm.*cannot be computed",
    ),
    "training mode": (
        lambda: parsed("agraph (float[N, 4] x) => (float[N, 4] y) "
                       "<float[4] s = {1,1,1,1}> { y, m, v = BatchNormalization<training_mode=1>(x, s, s, s, s) }"),
        UnsupportedModel,
        "training mode.*eval",
    ),
    "attribute of the wrong type": (
        lambda: parsed(f"{IO} {{ y = Softmax<axis=1.5>(x) }}"),
        MalformedModel,
        "'axis' must be an integer and is 1.5",
    ),
    "attribute missing": (lambda: parsed(f"{IO} {{ y = Concat(x, x) }}"), MalformedModel, "'axis' is missing"),
    "inputs missing": (lambda: parsed(f"{IO} {{ y = Reshape(x) }}"), MalformedModel, "Reshape.*cannot be computed"),
    "constant output": (
        lambda: parsed(f"{IO} {{ z = Relu(x) y = Constant<value_float=1.0>() }}"),
        UnsupportedModel,
        "'y' is a constant",
    ),
    "samples mixed": (
        lambda: parsed(f"{IO} {{ a = Constant<value_ints=[0]>() y = ReduceMean(x, a) }}"),
        UnsupportedModel,
        "'y'.*not one row for each sample",
    ),
    "indices from data": (
        lambda: parsed(f"{IO} {{ c = Cast<to=7>(x) y = Reshape(x, c) }}"),
        UnsupportedModel,
        "Reshape.*computes them from data",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_file_is_refused_and_the_culprit_named(
    make: Callable[[], onnx.ModelProto], error: type[UnreadableModel], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        read_proto(make(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 40])
def test_bytes_that_are_no_onnx_are_malformed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(MalformedModel, match="ONNX"):
        read_onnx(path, LIMITS)


def test_name_that_is_no_text_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(linear().SerializeToString().replace(b"Gemm", b"Ge\xffm"))
    with pytest.raises(MalformedModel, match="no UTF-8"):
        read_onnx(path, LIMITS)


def test_truncated_file_is_refused_at_any_length(tmp_path: Path) -> None:
    content = linear().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableModel):
            read_onnx(path, LIMITS)


def test_node_limit_holds(tmp_path: Path) -> None:
    body = "a0 = Relu(x) " + " ".join(f"a{i} = Relu(a{i - 1})" for i in range(1, 50)) + " y = Relu(a49)"
    with pytest.raises(UnsupportedModel, match="51 nodes; at most 50"):
        read_proto(parsed(f"{IO} {{ {body} }}"), tmp_path, LIMITS.model_copy(update={"model_nodes": 50}))


def test_file_larger_than_the_memory_limit_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="within the memory limit"):
        read_proto(linear(), tmp_path, LIMITS.model_copy(update={"memory_bytes": 100}))


def test_fixed_batch_becomes_free_where_samples_are_treated_alike(tmp_path: Path) -> None:
    model = parsed(
        "agraph (float[2, 4, 3] x) => (float[2, 12] y) { s = Constant<value_ints=[2,-1]>() y = Reshape(x, s) }"
    )
    assert read_proto(model, tmp_path).outputs[0].shape == ("batch", 12)


def test_fixed_batch_is_refused_where_samples_depend_on_each_other(tmp_path: Path) -> None:
    model = parsed("agraph (float[2, 4] x) => (float[2, 4] y) { y = Softmax<axis=0>(x) }")
    with pytest.raises(UnsupportedModel, match="fixes its batch size to 2"):
        read_proto(model, tmp_path)
