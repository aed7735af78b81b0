"""Every architecture, in every format that torch writes: read as it was, pruned exactly, priced right."""

import functools
import tempfile
from pathlib import Path

import onnx
import pytest
import torch

from tests.worker.formats.onnx.reading import onnxruntime_answers
from tests.worker.graph.exact import cut, draw
from tests.worker.zoo import REAL_ZOO, ZOO
from tests.worker.zoo_check import EXACT, FORMS, Checked, NotExportable, check, fresh_inputs, read, write
from worker.errors import UnsupportedModel
from worker.export.onnx import write_onnx
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze

TORCH_CANNOT = {
    # scaled_dot_product_attention came with opset 14, grouped queries never came.
    *((name, "torchscript-13") for name in ("bert", "llama", "llama-fused", "vit")),
    ("llama-fused", "torchscript-17"),
    # Pooling to sizes that do not divide those of the image, or that the older exporter has lost by then.
    *((name, form) for name in ("vgg", "inception") for form in ("torchscript-13", "torchscript-17")),
    # Pooling in three dimensions to more than one position.
    *(("conv3d", form) for form in FORMS if form.startswith("dynamo")),
}
"""Networks with a form in which torch itself cannot write them."""

TABLES_WRITTEN_OUT = {"swin"}
"""Exporters store what a small table of positions is expanded to: more parameters that belong to no channel."""

QUICK = {
    ("detector", "pt2"),
    ("llama", "pt2"),
    *((name, "torchscript-17") for name in ("gru", "bert", "conv1d")),
    ("convnext", "dynamo-20"),
}
"""One of every kind; all others take minutes."""


def cases(forms: tuple[str, ...]) -> list[object]:
    return [
        pytest.param(name, form, marks=() if (name, form) in QUICK else pytest.mark.slow)
        for name in ZOO
        for form in forms
        if (name, form) not in TORCH_CANNOT
    ]


@functools.cache
def components_as_pt2(name: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        write(ZOO[name](), "pt2", Path(folder) / "model")
        network = read(Path(folder) / "model", "pt2")
    return analyze(network, example_inputs(network)).component_count


def assert_exact(checked: Checked) -> None:
    assert checked.read <= EXACT, "the network was read wrongly"
    assert checked.masked <= EXACT
    assert checked.zeroed is None or checked.zeroed <= EXACT
    assert checked.change > 1e-3, "a vacuous draw"
    assert not checked.miscounted


@pytest.mark.parametrize(("name", "form"), cases(FORMS))
def test_every_architecture_is_read_pruned_and_priced_exactly(name: str, form: str, tmp_path: Path) -> None:
    example, path = ZOO[name](), tmp_path / "model"
    write(example, form, path)
    checked = check(example, read(path, form))
    assert_exact(checked)
    if form != "pt2":
        assert checked.components == components_as_pt2(name)
    assert checked.share > (0.8 if name in {"mixer", *TABLES_WRITTEN_OUT} else 0.9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), sorted(TORCH_CANNOT))
def test_torch_still_cannot_export(name: str, form: str, tmp_path: Path) -> None:
    with pytest.raises(NotExportable):
        write(ZOO[name](), form, tmp_path / "model")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "mlp" else pytest.mark.slow) for name in ZOO])
def test_pruned_network_runs_in_onnxruntime_and_is_read_back(name: str, tmp_path: Path) -> None:
    example, path = ZOO[name](), tmp_path / "model"
    write(example, "pt2", path)
    network, inputs = read(path, "pt2"), fresh_inputs(example)
    structure = analyze(network, example_inputs(network))
    pruned = cut(network, structure, draw(structure, 0.5, 0), inputs).pruned
    if (name, "dynamo-20") in TORCH_CANNOT:
        with pytest.raises(UnsupportedModel, match="cannot be written as ONNX"):
            write_onnx(pruned, tmp_path / "pruned.onnx")
        return
    write_onnx(pruned, tmp_path / "pruned.onnx")
    with torch.no_grad():
        wanted = pruned(*inputs)
        again = read(tmp_path / "pruned.onnx", "onnx")(*inputs)
    found = onnxruntime_answers(onnx.load(tmp_path / "pruned.onnx"), *(tensor.numpy() for tensor in inputs))
    for ours, theirs, back in zip(wanted, found, again, strict=True):
        assert (ours - torch.from_numpy(theirs)).abs().max() <= 1e-4 * ours.abs().max()
        assert (ours - back).abs().max() <= EXACT * ours.abs().max()


@pytest.mark.slow
@pytest.mark.skipif(not REAL_ZOO, reason="torchvision and transformers are not installed")
@pytest.mark.parametrize("form", ["pt2", "torchscript-17", "dynamo-20"])
@pytest.mark.parametrize("name", REAL_ZOO or ["none"])
def test_published_architectures_are_read_pruned_and_priced_exactly(name: str, form: str, tmp_path: Path) -> None:
    example, path = REAL_ZOO[name](), tmp_path / "model"
    try:
        write(example, form, path)
    except NotExportable as error:
        pytest.skip(f"torch cannot export it: {error}")
    assert_exact(check(example, read(path, form)))
