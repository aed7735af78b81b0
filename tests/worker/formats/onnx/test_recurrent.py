"""LSTM, GRU and RNN nodes answer as ONNX Runtime does, and keep torch's names for their weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.worker.formats.onnx.reading import onnxruntime_answers, random_images, read_proto
from worker.errors import UnsupportedModel

STEPS, INPUTS, HIDDEN = 5, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
RESETS_AFTER = {"GRU": {"linear_before_reset": 1}}


def recurrent(op: str, direction: str, *, biases: bool, started: bool = True, **attributes: object) -> onnx.ModelProto:
    """x (batch, 5, 3) → the outputs of all steps, and the last states. Without `started` the states start at zero."""
    directions, rows = 2 if direction == "bidirectional" else 1, GATES[op] * HIDDEN
    random = np.random.default_rng(0)
    shapes = {"w": (directions, rows, INPUTS), "r": (directions, rows, HIDDEN), "b": (directions, 2 * rows)}
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) * 0.5, name)
        for name, shape in shapes.items()
    ]
    nodes = [helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2])]
    states = [""] * (2 if op == "LSTM" else 1)
    if started:  # from the first step: (directions, batch, hidden)
        weights.append(numpy_helper.from_array(random.standard_normal((INPUTS, HIDDEN)).astype(np.float32), "m"))
        weights += [numpy_helper.from_array(np.array(value, np.int64), name)
                    for name, value in (("zero", [0]), ("one", [1]), ("times", [directions, 1, 1]))]  # fmt: skip
        nodes += [
            helper.make_node("Slice", ["steps", "zero", "one", "zero"], ["first"]),
            helper.make_node("MatMul", ["first", "m"], ["state"]),
            helper.make_node("Tile", ["state", "times"], ["states"]),
        ]
        states = ["states", "states"] if op == "LSTM" else ["states"]
    ends = ["h", "c"] if op == "LSTM" else ["h"]
    nodes.append(
        helper.make_node(
            op, ["steps", "w", "r", "b" if biases else "", "", *states], ["all", *ends], name="net/encoder",
            hidden_size=HIDDEN, direction=direction, **attributes,
        )
    )  # fmt: skip
    nodes.append(helper.make_node("Transpose", ["all"], ["y"], perm=[2, 0, 1, 3]))
    nodes += [helper.make_node("Transpose", [end], [f"y_{end}"], perm=[1, 0, 2]) for end in ends]
    names = ["y", *(f"y_{end}" for end in ends)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", STEPS, INPUTS])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_recurrent_op_answers_as_onnxruntime_does(op: str, direction: str, tmp_path: Path) -> None:
    for biases, started in ((True, True), (False, False)):
        model = recurrent(op, direction, biases=biases, started=started, **RESETS_AFTER.get(op, {}))
        x = random_images(3, STEPS, INPUTS)
        with torch.no_grad():
            answers = read_proto(model, tmp_path)(torch.from_numpy(x))
        for answer, expected in zip(answers, onnxruntime_answers(model, x), strict=True):
            np.testing.assert_allclose(answer.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_rnn_with_rectifiers_answers_as_onnxruntime_does(tmp_path: Path) -> None:
    model = recurrent("RNN", "forward", biases=True, activations=["Relu"])
    x = random_images(3, STEPS, INPUTS)
    with torch.no_grad():
        answers = read_proto(model, tmp_path)(torch.from_numpy(x))
    np.testing.assert_allclose(answers[0].numpy(), onnxruntime_answers(model, x)[0], rtol=1e-4, atol=1e-5)


def test_weights_are_parameters_under_the_names_that_torch_gives_them(tmp_path: Path) -> None:
    network = read_proto(recurrent("LSTM", "bidirectional", biases=True, started=False), tmp_path)
    roles = [f"{kind}_l0{suffix}" for suffix in ("", "_reverse")
             for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]  # fmt: skip
    assert sorted(name.rpartition(".")[2] for name, _ in network.parameters()) == sorted(roles)


@pytest.mark.parametrize(
    ("op", "attributes", "reason"),
    [
        ("GRU", {}, "linear_before_reset=0"),
        ("LSTM", {"input_forget": 1}, "couples its gates"),
        ("LSTM", {"clip": 1.0}, "clips its cells"),
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations"),
    ],
)
def test_variants_that_torch_does_not_know_are_refused(
    op: str, attributes: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match=f"net/encoder.*{reason}"):
        read_proto(recurrent(op, "forward", biases=True, **attributes), tmp_path)
