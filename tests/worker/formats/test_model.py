"""A model file is recognised by its content; what is no network is refused with the way to make one."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from tests.worker.formats.archives import pickle_bomb, write_zip
from worker.errors import MalformedModel, UnreadableModel, UnsafeModel, UnsupportedModel
from worker.formats.model import read_model
from worker.order import ChildLimits


def _saved(value: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def _torchscript() -> bytes:
    buffer = io.BytesIO()
    # torch deprecates TorchScript, and people still have such files.
    torch.jit.save(torch.jit.trace(Scripted(), torch.zeros(1)), buffer)
    return buffer.getvalue()


def _arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


def _keras() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, b"{}")
    return buffer.getvalue()


FOREIGN: dict[str, tuple[Callable[[Path], bytes], type[UnreadableModel], str]] = {
    "a bare pickle": (pickle_bomb, UnsafeModel, r"pickle \(protocol 4\).*load_state_dict.*torch.export.save"),
    "a text pickle": (lambda _: pickle.dumps([1, 2], protocol=0), UnsafeModel, r"pickle \(protocol 0\)"),
    "a state dict": (
        lambda _: _saved(nn.Linear(2, 2).state_dict()),
        UnsafeModel,
        "'archive/data.pkl' is a pickle.*load_state_dict.*torch.export.save",
    ),
    "a whole module": (lambda _: _saved(nn.Linear(2, 2)), UnsafeModel, "written by torch.save"),
    "a legacy state dict": (
        lambda _: _saved({"w": torch.zeros(1)}, _use_new_zipfile_serialization=False),
        UnsafeModel,
        "pickle",
    ),
    "TorchScript": (lambda _: _torchscript(), UnsafeModel, "TorchScript .*constants.pkl.*torch.export.save"),
    "safetensors": (lambda _: save({"w": torch.zeros(2)}), UnsupportedModel, "safetensors.*without a network"),
    "Keras": (lambda _: _keras(), UnsupportedModel, "Keras"),
    "HDF5": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(100), UnsupportedModel, "HDF5"),
    "TensorFlow Lite": (lambda _: b"\x1c\x00\x00\x00TFL3" + bytes(100), UnsupportedModel, "TensorFlow Lite"),
    "GGUF": (lambda _: b"GGUF" + bytes(100), UnsupportedModel, "GGUF"),
    "a dataset": (lambda _: _arrays(), UnsupportedModel, "/v1/datasets"),
    "nothing": (lambda _: b"", MalformedModel, "empty"),
    "one byte": (lambda _: b"\x80", MalformedModel, "begins with 80"),
    "text": (lambda _: b"#!/bin/sh\nrm -rf /\n", MalformedModel, "begins with 23 21"),
    "half a zip": (lambda _: b"PK\x03\x04" + bytes(100), MalformedModel, "truncated"),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files_are_refused_by_what_they_are(
    name: str, tmp_path: Path, sentinel: Path, limits: ChildLimits
) -> None:
    make, kind, expected = FOREIGN[name]
    path = tmp_path / "model.pt2"
    path.write_bytes(make(sentinel))
    with pytest.raises(UnreadableModel, match=expected) as caught:
        read_model(path, limits)
    assert type(caught.value) is kind
    assert not sentinel.exists()


def test_a_pt2_is_read_whatever_it_is_called(plain: Path, tmp_path: Path, limits: ChildLimits) -> None:
    (tmp_path / "upload.bin").write_bytes(plain.read_bytes())
    assert read_model(tmp_path / "upload.bin", limits).source == "pt2"


def test_an_onnx_file_goes_to_its_own_reader(shared_data: Path, limits: ChildLimits) -> None:
    assert read_model(shared_data / "models" / "resnet20.onnx", limits).source == "onnx"


def test_a_zip_of_anything_else_is_no_pt2(tmp_path: Path, limits: ChildLimits) -> None:
    with pytest.raises(MalformedModel, match=r"'setup\.py' does not belong"):
        read_model(write_zip(tmp_path / "code.zip", {"project/setup.py": b""}), limits)


def test_the_advice_in_a_refusal_makes_a_file_that_is_read(tmp_path: Path, limits: ChildLimits) -> None:
    (tmp_path / "weights.pt").write_bytes(_saved(nn.Linear(3, 2).state_dict()))
    with pytest.raises(UnsafeModel) as caught:
        read_model(tmp_path / "weights.pt", limits)
    lines = caught.value.detail.rpartition("then: ")[2].replace("'model.pt2'", repr(str(tmp_path / "model.pt2")))
    exec(lines, {"torch": torch, "model": nn.Linear(3, 2), "input_shape": (3,)})
    assert read_model(tmp_path / "model.pt2", limits).inputs[0].shape == ("batch", 3)
