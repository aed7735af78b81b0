"""Files written piece by piece are the files that protobuf and ONNX Runtime know."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.worker.formats.onnx.reading import warmed_up
from tests.worker.formats.onnx.small_networks import NETWORKS
from tests.worker.graph.test_normalization import traced
from worker.export import onnx as exporter
from worker.export import wire
from worker.export.onnx import data_beside, write_onnx
from worker.export.verify import verify_onnx
from worker.export.wire import opset_in, write_inline


def test_bytes_are_those_of_the_deterministic_serialisation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = {"weight": random.standard_normal((7, 300)).astype(np.float32), "shape": np.array([-1, 7])}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "weight"], ["y"], transB=1),
            helper.make_node("Reshape", ["y", "shape"], ["z"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 300])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 7])],
        value_info=[helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 7])],
    )
    model = helper.make_model(graph, producer_name="secateur", opset_imports=[helper.make_opsetid("", 20)])
    heads = [
        TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)
        for name, array in values.items()
    ]
    path = tmp_path / "model.onnx"
    size = write_inline(model, list(zip(heads, values.values(), strict=True)), path)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in values.items())
    assert path.read_bytes() == model.SerializeToString(deterministic=True)
    assert size == path.stat().st_size
    assert opset_in(path) == 20


def test_weights_beyond_the_limit_of_a_file_are_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = traced(warmed_up(NETWORKS["mobilenet"]()))
    inside, outside = tmp_path / "inside.onnx", tmp_path / "outside.onnx"
    assert write_onnx(network, inside) == [inside]
    monkeypatch.setattr(exporter, "_LARGEST_FILE", exporter._ROOM + 1000)
    monkeypatch.setattr(wire, "_SMALL", 64)  # the weights of a test are small ones too
    assert write_onnx(network, outside) == [outside, data_beside(outside)]
    assert data_beside(outside).stat().st_size > 1000
    assert verify_onnx(outside, network, None).max_rel_error < 1e-5
    # The weights that ONNX finds there are those of the file that holds them itself.
    found, wanted = onnx.load(outside).graph.initializer, onnx.load(inside).graph.initializer
    assert [tensor.name for tensor in found] == [tensor.name for tensor in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
