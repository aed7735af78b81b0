"""Writing a network as a `.pt2` that carries the network and nothing else."""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram

from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.training.mode import set_mode

__all__ = ["write_pt2"]

_TRACED_BATCH = 2
"""Not 1: torch.export takes a size of 1 for a constant."""

_UNREAD = (".data/serialization_id",)
_EMPTIED = "data/sample_inputs/"
_ROOT = "model"
_BLOCK_BYTES = 1024 * 1024


def write_pt2(network: Network, path: Path) -> None:
    """Save `network` in eval form, with its input and output names and a free batch, for `torch.export.load`.

    An ordinary `torch.export.save` also writes stack traces, source paths, module classes and the sample inputs as a
    pickle. None of that is in this file, so that a model does not tell where it was made. Equal networks give equal
    bytes. A network with one output answers it as a tensor, one with more as a tuple.
    """
    program = _exported(network)
    _keep_output_names(program, network)
    with (
        tempfile.TemporaryFile(dir=path.parent) as file,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target,
    ):
        torch.export.save(program, file)
        _copy_scrubbed(file, target)


def _copy_scrubbed(file: IO[bytes], target: zipfile.ZipFile) -> None:
    with zipfile.ZipFile(file) as source:
        for name in sorted(source.namelist()):
            inner = name.partition("/")[2]
            if inner in _UNREAD:
                continue
            member = zipfile.ZipInfo(f"{_ROOT}/{inner}")
            if inner.startswith("models/"):
                target.writestr(member, _scrubbed(source.read(name)))
            elif inner.startswith(_EMPTIED):
                # torch.export.load wants the member, and takes an empty one for "no sample inputs".
                target.writestr(member, b"")
            else:
                member.file_size = source.getinfo(name).file_size
                with source.open(name) as read, target.open(member, "w") as written:
                    shutil.copyfileobj(read, written, _BLOCK_BYTES)


def _exported(network: Network) -> ExportedProgram:
    graph = fx.Graph()
    output = graph.graph_copy(network.module.graph, {})
    graph.output(output[0] if isinstance(output, tuple | list) and len(output) == 1 else output)
    module = fx.GraphModule(network.module, graph)
    set_mode(module, training=False)
    batch = Dim("batch")
    free = {
        spec.name: {
            axis: batch if axis == 0 else Dim.AUTO for axis, size in enumerate(spec.shape) if isinstance(size, str)
        }
        for spec in network.inputs
    }
    with torch.no_grad():
        return torch.export.export(
            module, example_inputs(network, batch=_TRACED_BATCH), dynamic_shapes=tuple(free.values())
        )


def _keep_output_names(program: ExportedProgram, network: Network) -> None:
    results = program.graph.output_node().args[0]
    assert isinstance(results, tuple)
    for spec, result, wanted in zip(program.graph_signature.output_specs, results, network.outputs, strict=True):
        if isinstance(result, fx.Node) and result.op == "call_function":
            result._rename(wanted.name)
            spec.arg.name = result.name


def _scrubbed(document: bytes) -> bytes:
    """`model.json` without what tells about the machine and the source it was made with."""
    program: dict[str, Any] = json.loads(document)
    module = program["graph_module"]
    module["metadata"] = {}
    module["module_call_graph"] = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}
    program["guards_code"] = []
    return json.dumps(program, separators=(",", ":")).encode()
