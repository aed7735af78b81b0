"""Facts about the tree that no single module can promise."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy", "matplotlib", "worker")
LONGEST_MODULE = 400


def tracked_files() -> list[Path]:
    """Files that git tracks or would track: a machine's own leftovers are not the project's."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = (ROOT / name for name in listing.split("\0") if name)
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("module", ["service.app", "service.cli"])
def test_the_api_loads_neither_torch_nor_onnx_nor_the_worker(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()).isdisjoint(HEAVY)


def test_the_base_install_declares_nothing_heavy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.split(">")[0].split("=")[0].split("[")[0] for requirement in project["dependencies"]}
    assert names.isdisjoint(HEAVY)


def test_every_module_fits_in_one_reading() -> None:
    modules = [path for folder in ("service", "worker") for path in (ROOT / folder).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): lines for path in modules if (lines := count_lines(path)) > LONGEST_MODULE}
    assert long == {}


def count_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_tracked_file_names_a_place_on_this_machine() -> None:
    """Neither the checkout nor the home folder: such a path was pasted where it should have been derived."""
    places = [f"{place}{os.sep}" for place in (ROOT, Path.home()) if str(place) != os.sep]
    found = [
        f"{path.relative_to(ROOT)} names {place}"
        for path in tracked_files()
        for place in places
        if place.encode() in path.read_bytes()
    ]
    assert found == []
