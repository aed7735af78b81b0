"""The estimate of a file against the file."""

from pathlib import Path

import numpy as np
import pytest

from tests.worker.graph.test_blocks import drop, network_of, structure_of
from tests.worker.graph.test_equivalence import draw
from worker.export.onnx import write_onnx
from worker.graph.sizes import file_size
from worker.graph.surgery import remove


@pytest.mark.parametrize("name", ["resnet", "vit", "densenet"])
def test_a_file_is_about_as_large_as_was_estimated(name: str, tmp_path: Path) -> None:
    network, structure = network_of(name), structure_of(name)
    size = file_size(network, structure)
    whole = structure.everything()
    for index, selection in enumerate((whole, drop(structure, draw(structure, 0.5, 0), 0.5, 0))):
        path = tmp_path / f"{index}.onnx"
        write_onnx(remove(network, structure, selection), path)
        # These networks are small enough for names and attributes to matter.
        assert float(size.bytes(structure.kept_channels(selection))) == pytest.approx(path.stat().st_size, rel=0.06)


def test_tensors_are_counted_exactly() -> None:
    network, structure = network_of("resnet"), structure_of("resnet")
    selection = drop(structure, draw(structure, 0.5, 1), 0.5, 1)
    counts = structure.model.counts(structure.kept_channels(selection))
    entries = structure.model.tensors.by_layer(counts, len(structure.model.tensor_names))
    left = remove(network, structure, selection).module.state_dict()
    found = dict(zip(structure.model.tensor_names, entries, strict=True))
    assert {name: round(number) for name, number in found.items() if number} == {
        name: tensor.numel() for name, tensor in left.items()
    }


def test_several_states_are_evaluated_at_once() -> None:
    network, structure = network_of("resnet"), structure_of("resnet")
    states = np.stack([structure.kept_channels(draw(structure, 0.5, seed)) for seed in range(3)])
    size = file_size(network, structure)
    assert size.bytes(states) == pytest.approx([float(size.bytes(state)) for state in states])
