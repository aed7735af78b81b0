"""What torch.export writes is read as the same function."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.worker.formats.networks import NETWORKS, build, samples
from worker.errors import UnsupportedModel
from worker.formats.pt2 import read_pt2
from worker.order import ChildLimits

# torch's own decompositions copy deprecated tree specifications.
pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")

BATCH = torch.export.Dim("batch")
ALLOWED_OPS = ("aten.", "<built-in function")


def export(module: nn.Module, example: tuple[torch.Tensor, ...], strict: bool = False) -> torch.export.ExportedProgram:
    return torch.export.export(module, example, dynamic_shapes=tuple({0: BATCH} for _ in example), strict=strict)


def assert_reads_as(module: nn.Module, example: tuple[torch.Tensor, ...], path: Path, limits: ChildLimits) -> None:
    network = read_pt2(path, limits)
    inputs = samples(example, 5)
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module.eval()(*(tensor.clone() for tensor in inputs)))
        found = network(*inputs)
    assert len(found) == len(expected) == len(network.outputs)
    for a, b, spec in zip(found, expected, network.outputs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=2e-6)
        assert spec.shape == ("batch", *b.shape[1:])
    assert all(not node.meta for node in network.module.graph.nodes)
    targets = {str(node.target) for node in network.module.graph.nodes if node.op == "call_function"}
    assert all(target.startswith(ALLOWED_OPS) for target in targets)
    assert not any(target.partition(".default")[0].endswith("_") for target in targets), "in-place ops are left"


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_export_is_read_as_the_module_in_eval_mode(
    name: str, training: bool, tmp_path: Path, limits: ChildLimits
) -> None:
    module, example = build(name)
    torch.export.save(export(module.train(training), example), tmp_path / "model.pt2")
    assert_reads_as(module, example, tmp_path / "model.pt2", limits)


@pytest.mark.parametrize("name", ["padded shortcut", "mixture"])
def test_a_strict_export_is_read_as_the_module(name: str, tmp_path: Path, limits: ChildLimits) -> None:
    module, example = build(name)
    torch.export.save(export(module.eval(), example, strict=True), tmp_path / "model.pt2")
    assert_reads_as(module, example, tmp_path / "model.pt2", limits)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ["concatenated", "attention", "shuffle"])
def test_decomposed_norms_and_layers_come_back_whole(
    name: str, training: bool, tmp_path: Path, limits: ChildLimits
) -> None:
    module, example = build(name)
    program = export(module.train(training), example).run_decompositions()
    torch.export.save(program, tmp_path / "model.pt2")
    assert_reads_as(module, example, tmp_path / "model.pt2", limits)
    targets = {str(node.target) for node in read_pt2(tmp_path / "model.pt2", limits).module.graph.nodes}
    assert not targets & {
        "aten.convolution.default",
        "aten.native_layer_norm.default",
        "aten.native_group_norm.default",
    }
    assert not any("native_batch_norm" in target for target in targets)


@pytest.mark.parametrize("name", ["padded shortcut", "shuffle", "tied"])
def test_an_export_with_a_fixed_batch_is_freed(name: str, tmp_path: Path, limits: ChildLimits) -> None:
    module, example = build(name)
    torch.export.save(torch.export.export(module.eval(), example), tmp_path / "model.pt2")
    assert_reads_as(module, example, tmp_path / "model.pt2", limits)


class MixesSamples(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


def test_a_fixed_batch_whose_samples_depend_on_each_other_is_refused(tmp_path: Path, limits: ChildLimits) -> None:
    torch.export.save(torch.export.export(MixesSamples(), (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match=r"batches of exactly 2.*dynamic_shapes"):
        read_pt2(tmp_path / "model.pt2", limits)


def test_names_of_inputs_and_weights_are_kept_and_tied_weights_stay_one(tmp_path: Path, limits: ChildLimits) -> None:
    module, example = build("tied")
    torch.export.save(export(module.eval(), example), tmp_path / "model.pt2")
    network = read_pt2(tmp_path / "model.pt2", limits)
    assert [(spec.name, spec.shape, spec.dtype) for spec in network.inputs] == [
        ("ids", ("batch", 4), torch.int64),
        ("input", ("batch", 4, 8), torch.float32),
    ]
    names = {name for name, _ in network.parameters()}
    assert names in ({"embed.weight", "mix.weight", "mix.bias"}, {"out.weight", "mix.weight", "mix.bias"})
    assert network.parameter_count() == 11 * 8 + 8 * 8 + 8


def test_batch_norm_and_dropout_keep_their_flags_to_train_by(tmp_path: Path, limits: ChildLimits) -> None:
    module, example = build("inverted residual")
    torch.export.save(export(module.train(), example), tmp_path / "model.pt2")
    nodes = read_pt2(tmp_path / "model.pt2", limits).module.graph.nodes
    norms = [node for node in nodes if node.target is torch.ops.aten.batch_norm.default]
    dropouts = [node for node in nodes if node.target is torch.ops.aten.dropout.default]
    assert [node.args[5] for node in norms] == [False, False]
    assert [node.args[1:] for node in dropouts] == [(0.3, False)]


def test_frozen_weights_come_out_trainable_and_writable(tmp_path: Path, limits: ChildLimits) -> None:
    module, example = build("concatenated")
    torch.export.save(export(module.eval().requires_grad_(False), example), tmp_path / "model.pt2")
    network = read_pt2(tmp_path / "model.pt2", limits)
    network(*samples(example, 3))[0].sum().backward()
    for _, parameter in network.parameters():
        assert parameter.grad is not None
        parameter.data.mul_(0.5)


class OfAnySize(nn.Module):
    """Images of any size from 15 × 15 on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.fc = nn.Sequential(nn.Conv2d(3, 8, 7), nn.Conv2d(8, 8, 9)), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layers(x).mean((2, 3)))


def test_free_sizes_keep_those_they_were_traced_with(tmp_path: Path, limits: ChildLimits) -> None:
    module, free = OfAnySize().eval(), {0: BATCH, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    torch.export.save(
        torch.export.export(module, (torch.zeros(2, 3, 40, 24),), dynamic_shapes=(free,)), tmp_path / "model.pt2"
    )
    network = read_pt2(tmp_path / "model.pt2", limits)
    (spec,) = network.inputs
    assert (spec.shape, spec.traced) == (("batch", 3, "size2", "size3"), (2, 3, 40, 24))
    x = torch.randn(3, 3, 17, 30)
    assert torch.allclose(network(x)[0], module(x), atol=1e-6)


class SharesMemory(nn.Module):
    """Two parameters of one storage, which `state_dict` and `torch.save` take for two."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.second.weight = nn.Parameter(self.first.weight.data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def test_two_parameters_of_one_storage_are_one(tmp_path: Path, limits: ChildLimits) -> None:
    module = SharesMemory()
    torch.export.save(export(module.eval(), (torch.zeros(2, 6),)), tmp_path / "model.pt2")
    network = read_pt2(tmp_path / "model.pt2", limits)
    assert network.parameter_count() == 36
    x = torch.randn(3, 6)
    assert torch.allclose(network(x)[0], module(x), atol=1e-6)


def test_two_equal_copies_of_a_weight_stay_two(tmp_path: Path, limits: ChildLimits) -> None:
    module = SharesMemory()
    module.second.weight = nn.Parameter(module.first.weight.data.clone())
    torch.export.save(export(module.eval(), (torch.zeros(2, 6),)), tmp_path / "model.pt2")
    assert read_pt2(tmp_path / "model.pt2", limits).parameter_count() == 72


class OverwritesThroughView(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y.view(-1).add_(1)
        return y


class OverwritesPart(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[:, 0].add_(1)
        return y


def test_writing_to_a_part_computes_what_it_did(tmp_path: Path, limits: ChildLimits) -> None:
    module = OverwritesPart()
    torch.export.save(export(module, (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    x = torch.randn(4, 3)
    assert torch.equal(read_pt2(tmp_path / "model.pt2", limits)(x)[0], module(x))


def test_writing_through_a_view_is_refused_with_the_way_out(tmp_path: Path, limits: ChildLimits) -> None:
    program = export(OverwritesThroughView(), (torch.zeros(2, 3),))
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match=r"add_\.Tensor.*shares.*run_decompositions"):
        read_pt2(tmp_path / "model.pt2", limits)


class CountsCalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        return x + self.calls


def test_a_model_with_a_state_between_calls_is_refused_by_the_name_of_its_buffer(
    tmp_path: Path, limits: ChildLimits
) -> None:
    torch.export.save(export(CountsCalls(), (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match="'calls'"):
        read_pt2(tmp_path / "model.pt2", limits)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(float("nan"), "1 of the 8 values of '0.bias' are NaN"), (float("inf"), "1 of the 8 values of '0.bias'")],
)
def test_weights_that_are_not_finite_are_refused_by_name(
    value: float, expected: str, tmp_path: Path, limits: ChildLimits
) -> None:
    module = nn.Sequential(nn.Linear(3, 8))
    module[0].bias.data[2] = value
    torch.export.save(export(module, (torch.zeros(2, 3),)), tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match=expected):
        read_pt2(tmp_path / "model.pt2", limits)


def test_half_precision_weights_are_refused_with_the_way_out(tmp_path: Path, limits: ChildLimits) -> None:
    program = export(nn.Linear(3, 8).half(), (torch.zeros(2, 3, dtype=torch.float16),))
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match=r"'weight' is float16.*model\.float\(\)"):
        read_pt2(tmp_path / "model.pt2", limits)


def test_the_shared_resnet_keeps_its_accuracy(shared_data: Path, limits: ChildLimits) -> None:
    network = read_pt2(shared_data / "models" / "resnet20.pt2", limits)
    with np.load(shared_data / "cifar10-dev.npz") as arrays:
        images, labels = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((images / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    with torch.no_grad():
        answers = torch.cat([network(part)[0].argmax(1) for part in x.split(250)])
    assert int((answers == labels).sum()) == 1835
