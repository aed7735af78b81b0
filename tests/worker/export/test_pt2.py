"""A written `.pt2` is the network, and tells nothing else."""

import hashlib
from pathlib import Path

import pytest
import torch

from tests.worker.formats.archives import members_of
from tests.worker.formats.networks import NETWORKS, build, samples
from worker.export.pt2 import write_pt2
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.order import ChildLimits
from worker.training.mode import set_mode

LIMITS = ChildLimits(
    memory_bytes=1 << 32,
    cpu_seconds=600,
    file_bytes=1 << 30,
    dataset_bytes=1 << 30,
    model_nodes=1000,
    threads=1,
    device="cpu",
)


def network_of(name: str, folder: Path) -> tuple[Network, tuple[torch.Tensor, ...]]:
    module, example = build(name)
    batch = torch.export.Dim("batch")
    program = torch.export.export(module.eval(), example, dynamic_shapes=tuple({0: batch} for _ in example))
    torch.export.save(program, folder / "source.pt2")
    return read_pt2(folder / "source.pt2", LIMITS), samples(example, 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_and_our_reader_read_the_same_function_under_the_same_names(name: str, tmp_path: Path) -> None:
    network, inputs = network_of(name, tmp_path)
    write_pt2(network, tmp_path / "model.pt2")
    again = read_pt2(tmp_path / "model.pt2", LIMITS)
    assert (again.inputs, again.outputs) == (network.inputs, network.outputs)
    assert {key for key, _ in again.parameters()} == {key for key, _ in network.parameters()}
    loaded = torch.export.load(tmp_path / "model.pt2")
    with torch.no_grad():
        expected, found, by_torch = network(*inputs), again(*inputs), loaded.module()(*inputs)
    assert isinstance(by_torch, torch.Tensor) is (len(expected) == 1)
    for a, b, c in zip(expected, found, torch.utils._pytree.tree_leaves(by_torch), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_a_network_in_training_mode_is_written_in_eval_mode(tmp_path: Path) -> None:
    network, inputs = network_of("inverted residual", tmp_path)
    expected = network(*inputs)[0]
    set_mode(network.module, training=True)
    write_pt2(network, tmp_path / "model.pt2")
    assert torch.equal(torch.export.load(tmp_path / "model.pt2").module()(*inputs), expected)
    flags = [node.args[5] for node in network.module.graph.nodes if node.target is torch.ops.aten.batch_norm.default]
    assert flags == [True, True], "the network that was handed in is left as it was"


def test_nothing_of_this_machine_is_in_the_file(tmp_path: Path) -> None:
    network, _ = network_of("mixture", tmp_path)
    write_pt2(network, tmp_path / "model.pt2")
    content = (tmp_path / "model.pt2").read_bytes()
    here = [str(tmp_path), str(Path(__file__).parents[3]), str(Path.home()), "site-packages"]
    for leak in [*here, ".py", "stack_trace", "nn_module_stack", "guard_", "torch_fn", "torch._utils", "__main__"]:
        assert leak.encode() not in content
    assert members_of(tmp_path / "model.pt2")["model/data/sample_inputs/model.pt"] == b""
    assert b".py" in (tmp_path / "source.pt2").read_bytes(), "an ordinary export does leak, or this test shows nothing"


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("first.pt2", "second.pt2"):
        network, _ = network_of("padded shortcut", tmp_path)
        write_pt2(network, tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
