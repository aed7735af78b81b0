"""How long single layers take in ONNX Runtime, many at once."""

import json
import math
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from worker.export.session import PROVIDER

__all__ = ["Kernel", "time_kernels"]

_OPSET, _IR_VERSION = 20, 10
_WARM_UP_RUNS = 2
_FEWEST_RUNS, _MOST_RUNS = 5, 25
_SECONDS = 1.0
# Values of one model: weights and results of all its kernels, 128 MB.
_MOST_VALUES = 2**25
_ERRORS_ONLY = 3


@dataclass(frozen=True)
class Kernel:
    """A layer at some width: an ONNX operator, the shapes of its input and its weight, and its attributes."""

    op: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    attributes: tuple[tuple[str, int | str | tuple[int, ...]], ...] = ()


def time_kernels(kernels: Sequence[Kernel]) -> list[float]:
    """Milliseconds of each kernel on one thread, from the profiler of ONNX Runtime: what it takes inside a network,
    without the conversion of layouts around it. NaN for what does not run on its own."""
    return [time for some in _portions(kernels) for time in _timed(some)]


def _timed(kernels: list[Kernel]) -> list[float]:
    """Kernels of one model are independent of each other, but one that is refused spoils the model for all."""
    try:
        return _run(kernels)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 -- ONNX Runtime has a type for every reason; an upload chooses the attributes
        if len(kernels) == 1:
            return [math.nan]
        return [time for kernel in kernels for time in _timed([kernel])]


def _portions(kernels: Sequence[Kernel]) -> Iterator[list[Kernel]]:
    portion: list[Kernel] = []
    values = 0
    for kernel in kernels:
        size = prod(kernel.weight) + 4 * prod(kernel.input)
        if portion and values + size > _MOST_VALUES:
            yield portion
            portion, values = [], 0
        portion.append(kernel)
        values += size
    if portion:
        yield portion


def _run(kernels: list[Kernel]) -> list[float]:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        session = ort.InferenceSession(_model(kernels, random).SerializeToString(), options, providers=[PROVIDER])
        feed = {value.name: random.standard_normal(value.shape, dtype=np.float32) for value in session.get_inputs()}
        deadline, runs = time.perf_counter() + _SECONDS, 0
        while runs < _WARM_UP_RUNS + _FEWEST_RUNS or (runs < _MOST_RUNS and time.perf_counter() < deadline):
            session.run(None, feed)
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found: dict[int, list[float]] = defaultdict(list)
    for event in events:
        # With blocked channels a kernel is named after its result.
        named = re.fullmatch(r"k(\d+)(?:_nchwc)?_kernel_time", event["name"])
        if named:
            found[int(named[1])].append(event["dur"] / 1000)
    return [_typical(found[index][_WARM_UP_RUNS:]) for index in range(len(kernels))]


def _typical(times: list[float]) -> float:
    """Mean of the middle half: the profiler counts whole microseconds, which a median would keep."""
    ordered = np.sort(times)
    quarter = len(ordered) // 4
    return float(ordered[quarter : len(ordered) - quarter].mean())


def _model(kernels: list[Kernel], random: np.random.Generator) -> onnx.ModelProto:
    inputs = {shape: f"x{index}" for index, shape in enumerate(dict.fromkeys(kernel.input for kernel in kernels))}
    nodes, weights, results = [], [], []
    for index, kernel in enumerate(kernels):
        weights.append(numpy_helper.from_array(random.standard_normal(kernel.weight, dtype=np.float32), f"w{index}"))
        attributes: dict[str, Any] = dict(kernel.attributes)
        nodes.append(
            helper.make_node(kernel.op, [inputs[kernel.input], f"w{index}"], [f"k{index}"], f"k{index}", **attributes)
        )
        results.append(helper.make_tensor_value_info(f"k{index}", TensorProto.FLOAT, None))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for shape, name in inputs.items()]
    graph = helper.make_graph(nodes, "kernels", values, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
