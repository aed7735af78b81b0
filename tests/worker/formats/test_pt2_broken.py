"""A `.pt2` that contradicts itself, or asks for more than it brings, is refused, and what is wrong is named."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.formats.archives import MODEL, WEIGHTS, Json, Members, edit, nodes, write_zip
from worker.errors import MalformedModel, UnreadableModel, UnsafeModel, UnsupportedModel
from worker.formats.pt2 import read_pt2
from worker.order import ChildLimits


def first_weight(config: Json) -> Json:
    found: Json = config["config"]["0.weight"]
    return found


def _sizes(*sizes: int) -> list[Json]:
    return [{"as_int": size} for size in sizes]


OVERSIZE: dict[str, Json] = {
    "sizes": {"sizes": _sizes(400, 3, 3, 3)},
    "strides": {"strides": _sizes(2**40, 9, 3, 1)},
    "offset": {"storage_offset": {"as_int": 50}},
    "an expansion": {"sizes": _sizes(1 << 20, 1 << 20, 3, 3), "strides": _sizes(0, 0, 0, 0)},
    "a product that wraps around": {"sizes": _sizes(2**32, 2**32, 2, 1), "strides": _sizes(0, 0, 0, 0)},
}


@pytest.mark.parametrize("name", OVERSIZE)
def test_tensors_that_reach_beyond_their_bytes_are_refused_by_name(
    name: str, members: Members, tmp_path: Path, limits: ChildLimits
) -> None:
    edit(members, WEIGHTS, lambda config: first_weight(config)["tensor_meta"].update(OVERSIZE[name]))
    with pytest.raises(MalformedModel, match=r"0\.weight"):
        read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)


def test_many_names_for_one_payload_do_not_multiply_its_memory(
    members: Members, tmp_path: Path, limits: ChildLimits
) -> None:
    def swell(program: Json) -> None:
        graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
        for number in range(400):
            signature["input_specs"].insert(
                0, {"parameter": {"arg": {"name": f"p{number}"}, "parameter_name": f"copy{number}"}}
            )
            relu = {"name": "self", "arg": {"as_tensor": {"name": f"p{number}"}}}
            graph["nodes"].append(
                {
                    "target": "torch.ops.aten.relu.default",
                    "inputs": [relu],
                    "outputs": [{"as_tensor": {"name": f"r{number}"}}],
                    "metadata": {},
                }
            )
            signature["output_specs"].append({"user_output": {"arg": {"as_tensor": {"name": f"r{number}"}}}})

    def alias(config: Json) -> None:
        weight = config["config"]["4.weight"]
        for number in range(400):
            meta = {**weight["tensor_meta"], "sizes": _sizes(144 - number % 140), "strides": _sizes(1)}
            meta["storage_offset"] = {"as_int": number // 140}
            config["config"][f"copy{number}"] = {**weight, "tensor_meta": meta}

    edit(members, MODEL, swell)
    edit(members, WEIGHTS, alias)
    with pytest.raises(MalformedModel, match="far larger than the bytes"):
        read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)


def _input_size(size: Json) -> Callable[[Json], None]:
    def change(program: Json) -> None:
        program["graph_module"]["graph"]["tensor_values"][_input(program)]["sizes"][2] = size

    return change


def _input(program: Json) -> str:
    name: str = program["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"]
    return name


def _rename(old: str, new: str) -> Callable[[Members, Path], None]:
    def change(members: Members, _: Path) -> None:
        members[MODEL] = members[MODEL].replace(b'"%s"' % old.encode(), b'"%s"' % new.encode())

    return change


def _rename_weight(new: str) -> Callable[[Members, Path], None]:
    def change(members: Members, _: Path) -> None:
        for name in (MODEL, WEIGHTS):
            members[name] = members[name].replace(b'"0.weight"', b'"%s"' % new.encode())

    return change


BROKEN: dict[str, tuple[Callable[[Members, Path], object], type[UnreadableModel], str]] = {
    "no JSON": (lambda m, _: m.update({MODEL: b"\x80\x02}q\x00."}), MalformedModel, "models/model.json"),
    "deep nesting": (
        lambda m, _: m.update({MODEL: b'{"schema_version":' + b"[" * 100_000 + b"]" * 100_000 + b"}"}),
        MalformedModel,
        "models/model.json",
    ),
    "a graph nested in itself": (lambda m, _: edit(m, MODEL, _nested), MalformedModel, "nested too deeply"),
    "another schema": (
        lambda m, _: edit(m, MODEL, lambda p: p["schema_version"].update(major=9)),
        UnsupportedModel,
        "schema 9",
    ),
    "too many ops": (
        lambda m, _: edit(m, MODEL, _crowd),
        UnsupportedModel,
        "more than 500 ops",
    ),
    "a value before it is made": (
        lambda m, _: edit(m, MODEL, lambda p: nodes(p).reverse()),
        MalformedModel,
        "before anything makes it",
    ),
    "a missing weight": (
        lambda m, _: edit(m, WEIGHTS, lambda c: c["config"].pop("0.weight")),
        MalformedModel,
        "0.weight",
    ),
    "a missing payload": (lambda m, _: m.pop("plain/data/weights/weight_0"), MalformedModel, "data/weights/weight_0"),
    "an unknown dtype": (
        lambda m, _: edit(m, WEIGHTS, lambda c: first_weight(c)["tensor_meta"].update(dtype=29)),
        UnsupportedModel,
        "0.weight has dtype number 29",
    ),
    "an input of negative size": (lambda m, _: edit(m, MODEL, _input_size({"as_int": -8})), MalformedModel, "sizes/2"),
    "an input that fits no op": (lambda m, _: edit(m, MODEL, _input_size({"as_int": 1})), MalformedModel, "conv2d"),
    "an input larger than memory": (
        lambda m, _: edit(m, MODEL, _input_size({"as_int": 2**40})),
        UnsupportedModel,
        "bytes a job may use",
    ),
    "code as the name of an input": (_rename("input", "x, y=print('hi')"), MalformedModel, "pattern"),
    "a keyword as the name of an input": (_rename("input", "lambda"), UnsupportedModel, "'lambda'"),
    "the name of the module as an input": (_rename("input", "self"), UnsupportedModel, "'self'"),
    "a weight called like a method": (_rename_weight("forward"), UnsupportedModel, "'forward' is taken"),
    "a weight called like a special attribute": (_rename_weight("__class__"), UnsupportedModel, "'__class__'"),
    "a member from elsewhere": (lambda m, _: m.update({"plain/setup.py": b""}), MalformedModel, "'setup.py'"),
    "two models": (lambda m, _: m.update({"plain/models/other.json": m[MODEL]}), UnsupportedModel, "2 models"),
    "big-endian weights": (lambda m, _: m.update({"plain/byteorder": b"big"}), UnsupportedModel, "little-endian"),
    "an argument of another type": (
        lambda m, _: edit(m, MODEL, lambda p: nodes(p)[0]["inputs"][0].update(arg={"as_string": "x"})),
        MalformedModel,
        "conv2d",
    ),
    "sizes that grow without bound": (lambda m, _: edit(m, MODEL, _growing), MalformedModel, "size that no tensor"),
    "a tuple times a number": (lambda m, _: edit(m, MODEL, _repeated), MalformedModel, "only sizes"),
    "a million mistakes": (
        lambda m, _: edit(m, MODEL, lambda p: p["graph_module"]["graph"].update(nodes=[0] * 10**6)),
        MalformedModel,
        "graph/nodes/0",
    ),
    "a custom object as argument": (
        lambda m, _: edit(m, MODEL, lambda p: nodes(p)[0]["inputs"][0].update(arg={"as_custom_obj": {}})),
        UnsupportedModel,
        "as_custom_obj",
    ),
}


def _call(target: str, output: str, *arguments: Json) -> Json:
    inputs = [{"name": "ab"[position], "arg": argument} for position, argument in enumerate(arguments)]
    return {"target": target, "inputs": inputs, "outputs": [{"as_sym_int": {"as_name": output}}], "metadata": {}}


def _read_size(program: Json, name: str) -> None:
    """Let the last reshape of the graph read the value `name`, so that it is not dropped as dead."""
    reshape = next(node for node in nodes(program) if "flatten" in node["target"])
    reshape["inputs"] = [reshape["inputs"][0], {"name": "start_dim", "arg": {"as_sym_int": {"as_name": name}}}]


def _growing(program: Json) -> None:
    made = [_call("_operator.mul", "n0", {"as_int": 2**40}, {"as_int": 2**40})]
    for number in range(60):
        operand = {"as_sym_int": {"as_name": f"n{number}"}}
        made.append(_call("_operator.mul", f"n{number + 1}", operand, operand))
    nodes(program)[:0] = made
    _read_size(program, "n60")


def _repeated(program: Json) -> None:
    chunk = {
        "target": "torch.ops.aten.chunk.default",
        "inputs": [
            {"name": "self", "arg": {"as_tensor": {"name": _input(program)}}},
            {"name": "chunks", "arg": {"as_int": 3}},
        ],
        "outputs": [{"as_tensor": {"name": "parts"}}],
        "metadata": {},
    }
    many = _call("_operator.mul", "many", {"as_tensor": {"name": "parts"}}, {"as_int": 10**10})
    nodes(program)[:0] = [chunk, many]
    _read_size(program, "many")


def _crowd(program: Json) -> None:
    last = nodes(program)[-1]
    for number in range(600):
        nodes(program).append({**last, "outputs": [{"as_tensor": {"name": f"more{number}"}}]})


def _nested(program: Json) -> None:
    inner: Json = {"inputs": [], "outputs": [], "nodes": [], "tensor_values": {}}
    for _ in range(12):
        node = {
            "target": "torch.ops.higher_order.wrap_with_set_grad_enabled",
            "inputs": [
                {"name": "", "arg": {"as_bool": False}},
                {"name": "", "arg": {"as_graph": {"name": "g", "graph": inner}}},
            ],
            "outputs": [],
            "metadata": {},
        }
        inner = {"inputs": [], "outputs": [], "nodes": [node], "tensor_values": {}}
    nodes(program).insert(0, inner["nodes"][0])


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_and_what_is_broken_is_named(
    name: str, members: Members, tmp_path: Path, sentinel: Path, limits: ChildLimits
) -> None:
    craft, kind, expected = BROKEN[name]
    craft(members, sentinel)
    with pytest.raises(kind, match=expected):
        read_pt2(write_zip(tmp_path / "crafted.pt2", members), limits)


def test_a_truncated_archive_is_refused(plain: Path, tmp_path: Path, limits: ChildLimits) -> None:
    whole = plain.read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pt2").write_bytes(whole[:size])
        with pytest.raises(MalformedModel, match=r"truncated|damaged"):
            read_pt2(tmp_path / "cut.pt2", limits)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(
    members: Members, tmp_path: Path, limits: ChildLimits
) -> None:
    members["plain/data/weights/weight_0"] = bytes(64 << 20)
    write_zip(tmp_path / "bomb.pt2", members, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt2").stat().st_size < 1 << 20
    with pytest.raises(UnsafeModel, match="compressed with deflate"):
        read_pt2(tmp_path / "bomb.pt2", limits)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_member_that_occurs_twice_is_refused_by_name(members: Members, tmp_path: Path, limits: ChildLimits) -> None:
    write_zip(tmp_path / "twice.pt2", members)
    with zipfile.ZipFile(tmp_path / "twice.pt2", "a") as archive:
        archive.writestr(MODEL, b"{}")
    with pytest.raises(UnsafeModel, match=f"'{MODEL}' occurs twice"):
        read_pt2(tmp_path / "twice.pt2", limits)


def test_a_symbolic_link_is_refused_by_name(members: Members, tmp_path: Path, limits: ChildLimits) -> None:
    write_zip(tmp_path / "link.pt2", members)
    link = zipfile.ZipInfo("plain/extra/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.pt2", "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UnsafeModel, match="'plain/extra/link' is a symbolic link"):
        read_pt2(tmp_path / "link.pt2", limits)
