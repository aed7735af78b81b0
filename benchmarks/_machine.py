"""What every benchmark says first: the machine and the versions; and what it does without a package that it needs."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["describe", "missing", "skipped"]

_PACKAGES = (
    "torch",
    "onnxruntime",
    "onnx",
    "numpy",
    "scipy",
    "torchvision",
    "transformers",
    "torch-pruning",
    "onnx2torch",
)
_DISTRIBUTIONS = {"torch_pruning": "torch-pruning"}


def describe() -> str:
    """One line: processor, its widest vector instructions, cores, load, system, Python, and packages."""
    lines = (line.partition(":") for line in _text(Path("/proc/cpuinfo")).splitlines())
    info = {key.strip(): value.strip() for key, _, value in lines}
    flags = set(info.get("flags", "").split())
    vectors = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    cores = len(os.sched_getaffinity(0))
    versions = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    return (
        f"{info.get('model name', platform.processor() or 'unknown processor')}, {vectors}, {cores} cores, "
        f"load {os.getloadavg()[0]:.1f}; {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {versions}"
    )


def missing(*modules: str) -> list[str]:
    """Those of `modules` that are not installed, by the names that pip knows them by."""
    return [_DISTRIBUTIONS.get(name, name) for name in modules if find_spec(name) is None]


def skipped(what: str, packages: list[str]) -> str:
    return f"skipped: {what} needs {' and '.join(packages)} (pip install {' '.join(packages)})"


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
