"""Every known way to make `torch.export.load` run code or read files is inert or refused here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.worker.formats.archives import CONSTANTS, MODEL, WEIGHTS, Json, Members, edit, nodes, pickle_bomb, write_zip
from worker.errors import UnsafeModel, UnsupportedModel
from worker.formats.pt2 import read_pt2
from worker.order import ChildLimits


def test_torch_itself_would_run_the_payload_used_here(
    plain: Path, members: Members, tmp_path: Path, sentinel: Path
) -> None:
    members["plain/data/sample_inputs/model.pt"] = pickle_bomb(sentinel)
    with pytest.raises(RuntimeError):
        torch.export.load(write_zip(tmp_path / "bomb.pt2", members))
    assert sentinel.exists()


INERT: dict[str, Callable[[Members, Path], None]] = {
    "a pickle as sample inputs": lambda m, s: m.update({"plain/data/sample_inputs/model.pt": pickle_bomb(s)}),
    "code as the size of a value": lambda m, s: edit(m, MODEL, lambda p: _set_expressions(p, s)),
    "code as a guard": lambda m, s: edit(m, MODEL, lambda p: p.update(guards_code=[_code(s)])),
    "code as a stack trace and module stack": lambda m, s: edit(m, MODEL, lambda p: _set_metadata(p, s)),
    "code as call signature": lambda m, s: edit(
        m, MODEL, lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=_code(s))
    ),
    "extra files": lambda m, s: m.update({"plain/extra/run.py": _code(s).encode()}),
}


def _code(sentinel: Path) -> str:
    return f"__import__('pathlib').Path({str(sentinel)!r}).touch()"


def _set_expressions(program: Json, sentinel: Path) -> None:
    for meta in program["graph_module"]["graph"]["tensor_values"].values():
        for size in [*meta["sizes"], *meta["strides"]]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = _code(sentinel)
    for size in program["graph_module"]["graph"]["sym_int_values"].values():
        size["as_expr"]["expr_str"] = _code(sentinel)


def _set_metadata(program: Json, sentinel: Path) -> None:
    for node in nodes(program):
        node["metadata"] = {"stack_trace": _code(sentinel), "nn_module_stack": _code(sentinel)}


@pytest.mark.parametrize("name", INERT)
def test_code_in_what_is_never_looked_at_stays_inert(
    name: str, members: Members, plain: Path, tmp_path: Path, sentinel: Path, limits: ChildLimits
) -> None:
    INERT[name](members, sentinel)
    network = read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(network(x)[0], read_pt2(plain, limits)(x)[0])
    assert not sentinel.exists()
    assert str(sentinel) not in str(network.module.graph)


def _pickled(config: Json) -> None:
    config["config"]["0.weight"]["use_pickle"] = True


def _object_constant(members: Members, prefix: str, sentinel: Path) -> None:
    members[f"plain/data/constants/{prefix}_0"] = pickle_bomb(sentinel)
    payload = {"path_name": f"{prefix}_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    edit(members, CONSTANTS, lambda config: config["config"].update(thing=payload))


PROGRAMS: dict[str, tuple[Callable[[Members, Path], object], str]] = {
    "a weight as a pickle": (
        lambda m, s: (m.update({"plain/data/weights/weight_0": pickle_bomb(s)}), edit(m, WEIGHTS, _pickled)),
        "0.weight in data/weights/weight_0 is stored as a pickle",
    ),
    "an opaque constant": (lambda m, s: _object_constant(m, "opaque_obj", s), "data/constants/opaque_obj_0"),
    "a torchbind constant": (lambda m, s: _object_constant(m, "custom_obj", s), "data/constants/custom_obj_0"),
    "legacy weights": (lambda m, s: m.update({"plain/data/weights/model.pt": pickle_bomb(s)}), "data/weights/model.pt"),
    "legacy constants": (
        lambda m, s: m.update({"plain/data/constants/model.pt": pickle_bomb(s)}),
        "data/constants/model.pt",
    ),
    "a shared library": (
        lambda m, _: m.update({"plain/data/aotinductor/model/a.so": b"\x7fELF"}),
        "data/aotinductor/model/a.so.*machine code",
    ),
    "the layout of torch 2.7": (
        lambda m, s: m.update({"plain/serialized_state_dict.pt": pickle_bomb(s)}),
        "serialized_state_dict.pt",
    ),
    "a name that leaves the archive": (lambda m, _: m.update({"plain/../../evil": b""}), r"'plain/../../evil' leaves"),
    "an absolute name": (lambda m, _: m.update({"/etc/cron.d/evil": b""}), "'/etc/cron.d/evil' has an absolute name"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_members_that_are_programs_are_refused_by_name(
    name: str, members: Members, tmp_path: Path, sentinel: Path, limits: ChildLimits
) -> None:
    craft, expected = PROGRAMS[name]
    craft(members, sentinel)
    with pytest.raises(UnsafeModel, match=expected) as caught:
        read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)
    assert "torch.export.save(program, 'model.pt2')" in caught.value.detail
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.as_strided.default",
        "torch.ops.aten.empty.memory_format",
        "torch.ops.aten.__class__.default",
        "torch.ops.higher_order.cond",
        "_operator.attrgetter",
        "_operator.pow",
        "builtins.eval",
        "torch.ops.mylib.run.default",
    ],
)
def test_functions_outside_the_allow_list_are_refused_by_name(
    target: str, members: Members, tmp_path: Path, sentinel: Path, limits: ChildLimits
) -> None:
    argument = {"name": "self", "arg": {"as_string": f"touch {sentinel}"}, "kind": 1}
    edit(members, MODEL, lambda program: nodes(program)[-1].update(target=target, inputs=[argument]))
    with pytest.raises(UnsupportedModel) as caught:
        read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)
    assert repr(target) in caught.value.detail
    assert not sentinel.exists()
