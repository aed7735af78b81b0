"""What becomes a parameter, what a buffer, and what they are called."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.worker.formats.onnx.reading import parsed, read_proto
from worker.formats.onnx.names import Names
from worker.graph.network import Network

INPUT = "agraph (float[N, 4, 6, 6] x) => (float[N, 4, 6, 6] y)"


def read(body: str, tmp_path: Path, **weights: tuple[int, ...]) -> Network:
    model = parsed(f"{INPUT} {{ {body} }}")
    for name, shape in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(shape, np.float32), name))
    return read_proto(model, tmp_path)


def test_vectors_that_the_exporter_merged_are_separate_parameters(tmp_path: Path) -> None:
    body = "a = Conv(x, one, zero) b = Relu(a) y = Conv(b, two, zero)"
    network = read(body, tmp_path, one=(4, 4, 1, 1), two=(4, 4, 1, 1), zero=(4,))
    biases = [parameter for _, parameter in network.parameters() if parameter.ndim == 1]
    assert len(biases) == 2
    assert biases[0] is not biases[1]


def test_merged_statistics_of_batch_norm_are_separate_buffers(tmp_path: Path) -> None:
    body = "a = BatchNormalization(x, s, b, m, v) b2 = Relu(a) y = BatchNormalization(b2, s, b, m, v)"
    network = read(body, tmp_path, s=(4,), b=(4,), m=(4,), v=(4,))
    assert len(list(network.module.buffers())) == 4
    assert len(list(network.parameters())) == 4


def test_a_matrix_used_twice_stays_one_parameter(tmp_path: Path) -> None:
    network = read("a = Conv(x, w) y = Conv(a, w)", tmp_path, w=(4, 4, 1, 1))
    assert [name for name, _ in network.parameters()] == ["w"]


def test_what_normalises_the_input_is_not_trained(tmp_path: Path) -> None:
    network = read("c = Sub(x, mean) d = Div(c, std) y = Mul(d, scale)", tmp_path,
                   mean=(1, 4, 1, 1), std=(1, 4, 1, 1), scale=(4, 1, 1))  # fmt: skip
    assert [name for name, _ in network.parameters()] == ["scale"]
    assert {name for name, _ in network.module.named_buffers()} == {"mean", "std"}


def test_initializers_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    model = parsed("agraph (float[N, 4] x, float[2, 4] w) => (float[N, 2] y) { y = Gemm<transB=1>(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4), np.float32), "w"))
    network = read_proto(model, tmp_path)
    assert [spec.name for spec in network.inputs] == ["x"]
    assert network(torch.ones(1, 4))[0].tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("layer1.0.conv.weight", "layer1.0.conv.weight"),
        ("a/b:c weight", "a_b_c_weight"),
        ("..a...b..", "a.b"),
        ("forward", "forward_"),
        ("graph.code", "graph_.code_"),
        ("__class__.x", "__class___.x"),
        ("_conv_stem.weight", "_conv_stem.weight"),
        ("", "constant"),
    ],
)
def test_names_become_dotted_names_that_torch_accepts(wanted: str, given: str) -> None:
    assert Names().unique(wanted) == given


def test_no_name_equals_or_continues_another() -> None:
    names = Names()
    assert [names.unique("a.b") for _ in range(3)] == ["a.b", "a_2.b", "a_3.b"]
    assert names.unique("a") == "a_4"
    assert names.unique("a.b.c") == "a.b_2.c"
