"""How many ONNX files can be imported, against onnx2torch on the same files.

python benchmarks/onnx_import.py [--only PATTERN ...] [--exporters NAME ...] [--again TOOL ...] [--table]
                                 [--plot FILE]

Files: every network of `tests/worker/zoo.py`, those of torchvision and transformers included where these are installed,
written by both exporters of torch with several opsets. A file that torch itself cannot write counts for nobody.

  *reads*: the importer takes the file, and its answers are those of the eager network, to 1e-4 of the largest;
  *prunes*: besides, `torch.export` traces what was imported with a free batch, another batch gets the eager answers
  too, and the analysis finds something to prune.

Files and results (a line each) are kept in bench-output/onnx-import, so that a benchmark that was stopped goes on;
`--again` measures a tool anew on the files that are there. `--table` prints what was measured.
"""

import argparse
import contextlib
import io
import json
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import onnx
import torch
from _clock import TookTooLong, capped
from _machine import describe, missing, skipped
from _plots import Bar, bars
from torch import Tensor, nn

from tests.worker.formats.onnx.exporting import EXPORTERS, export_example
from tests.worker.zoo import REAL_ZOO, ZOO, Example
from tests.worker.zoo_real import declare_compiled_ops
from worker.formats.onnx import read_onnx
from worker.graph.network import Network
from worker.graph.structure import analyze
from worker.graph.traced import from_exported
from worker.order import ChildLimits

TOOLS = ("Secateur", "onnx2torch")
OUTPUT = Path(__file__).parents[1] / "bench-output" / "onnx-import"
RESULTS = OUTPUT / "results.jsonl"
LIMITS = ChildLimits(
    memory_bytes=2**34, cpu_seconds=600, file_bytes=2**31, dataset_bytes=2**30,
    model_nodes=20_000, threads=1, device="cpu",
)  # fmt: skip
_TOLERANCE = 1e-4
_CAP = 120.0  # seconds of CPU for one file

Inputs = tuple[Tensor, ...]
Answers = tuple[Tensor, ...]


@dataclass(frozen=True)
class Result:
    """What became of one file. `why` is the reason for the first thing that failed."""

    network: str
    exporter: str
    tool: str
    written: bool
    reads: bool = False
    prunes: bool = False
    stage: Literal["", "export", "import", "answers", "trace", "other batch", "analysis"] = ""
    why: str = ""


class Failed(Exception):
    pass


def secateur(path: Path, _: Inputs) -> tuple[Callable[..., Answers], Callable[[], Network]]:
    network = read_onnx(path, LIMITS)
    return network, lambda: network  # the importer traces


def onnx2torch(path: Path, inputs: Inputs) -> tuple[Callable[..., Answers], Callable[[], Network]]:
    declare_compiled_ops()  # it imports torchvision
    from onnx2torch import convert

    module: nn.Module = convert(onnx.load(path)).eval()
    shapes = tuple({0: torch.export.Dim("batch", min=1, max=1024)} for _ in inputs)
    return (
        lambda *given: _flat(module(*given)),
        lambda: from_exported(torch.export.export(module, inputs, dynamic_shapes=shapes)),
    )


def _flat(answer: Tensor | Iterable[Tensor]) -> Answers:
    return (answer,) if isinstance(answer, Tensor) else tuple(answer)


def differs(found: Answers, wanted: Answers) -> str:
    """Why the answers are not the same, or nothing."""
    if len(found) != len(wanted) or any(one.shape != other.shape for one, other in zip(found, wanted, strict=True)):
        return f"shapes {[tuple(one.shape) for one in found]}, not {[tuple(one.shape) for one in wanted]}"
    error = max(
        float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))
        for one, other in zip(found, wanted, strict=True)
    )
    return "" if error <= _TOLERANCE else f"answers differ by {error:.0e}"


def stages(tool: str, example: Example, path: Path) -> Result | None:
    """The first thing that fails, with what came before it; None where nothing does."""
    larger = tuple(torch.cat([tensor, tensor, tensor[:1]]) for tensor in example.inputs)
    stage, reads = "import", False
    try:
        with capped(_CAP), torch.no_grad():
            answers, traced = (secateur if tool == "Secateur" else onnx2torch)(path, example.inputs)
            stage = "answers"
            _require(differs(answers(*example.inputs), _flat(example.module(*example.inputs))))
            reads, stage = True, "trace"
            network = traced()
            stage = "other batch"
            _require(differs(network(*larger), _flat(example.module(*larger))))
            stage = "analysis"
            structure = analyze(network, tuple(tensor[:1].clone() for tensor in example.inputs))
            _require("" if any(group.role != "layer" for group in structure.groups) else "nothing can be pruned")
    except (Exception, TookTooLong) as error:  # noqa: BLE001 -- whatever an importer raises is the finding
        return Result("", "", tool, True, reads, False, stage, _reason(error))  # type: ignore[arg-type]  # one of these
    return None


def _require(problem: str) -> None:
    if problem:
        raise Failed(problem)


def _reason(error: BaseException) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    text = re.sub(r".*operation_type='(\w+)', version=(\d+).*", r"no converter for \1 of opset \2", text)
    kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
    return f"{kind}{text}"[:110]


def measure(name: str, make: Callable[[], Example], exporter: str, tools: list[str]) -> list[Result]:
    example = make()
    path = OUTPUT / f"{name}-{exporter}.onnx"
    try:
        if not path.is_file():
            with capped(_CAP), contextlib.redirect_stdout(io.StringIO()):  # a failing exporter prints its graph
                path.write_bytes(export_example(example, exporter).SerializeToString())
    except (Exception, TookTooLong) as error:  # noqa: BLE001 -- torch cannot write this one
        return [Result(name, exporter, tool, False, stage="export", why=_reason(error)) for tool in tools]
    results = []
    for tool in tools:
        failed = stages(tool, example, path)
        found = asdict(failed or Result("", "", tool, True, True, True))
        results.append(Result(**{**found, "network": name, "exporter": exporter}))
    return results


def table(results: list[Result]) -> str:
    tools = [tool for tool in TOOLS if any(result.tool == tool for result in results)]
    columns = " | ".join(f"{tool} reads | {tool} prunes" for tool in tools)
    lines = [f"| network | files | {columns} |", "|---|---:|" + "---:|---:|" * len(tools)]
    names = list(dict.fromkeys(result.network for result in results))
    lines += [_line(name, [result for result in results if result.network == name], tools) for name in names]
    for exporter in EXPORTERS:
        found = [result for result in results if result.exporter == exporter]
        if found:
            lines.append(_line(f"**all of {exporter}**", found, tools))
    lines.append(_line("**all**", results, tools))
    for tool in tools:
        reasons = Counter(
            f"{result.stage}: {result.why}"
            for result in results
            if result.tool == tool and result.written and result.why
        )
        lines.append(f"\nWhy {tool} fails, {reasons.total()} files:\n")
        lines += [f"- {count}x {reason}" for reason, count in reasons.most_common(12)]
    return "\n".join(lines)


def _line(name: str, results: list[Result], tools: list[str]) -> str:
    cells = []
    for tool in tools:
        found = [result for result in results if result.tool == tool and result.written]
        files = len(found)
        cells += [str(sum(result.reads for result in found)), str(sum(result.prunes for result in found))]
    return f"| {name} | {files} | {' | '.join(cells)} |"


def shares(results: list[Result]) -> list[Bar]:
    shown = []
    for exporter in EXPORTERS:
        for tool in TOOLS:
            found = [row for row in results if (row.exporter, row.tool, row.written) == (exporter, tool, True)]
            if found:
                shown.append(Bar(exporter, tool, 100 * sum(row.prunes for row in found) / len(found)))
    return shown


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", nargs="*", default=["*"])
    arguments.add_argument("--exporters", nargs="*", default=EXPORTERS, choices=EXPORTERS)
    arguments.add_argument("--again", nargs="*", default=[], choices=TOOLS, help="forget what was measured of these")
    arguments.add_argument("--table", action="store_true", help="print what has been measured, and measure nothing")
    arguments.add_argument("--plot", type=Path)
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)  # a failing trace prints its graph
    print(describe())
    absent = missing("onnx2torch")
    if absent:
        print(skipped("the comparison", absent))
    if not REAL_ZOO:
        print(skipped("real networks", missing("torchvision", "transformers")))
    tools = [tool for tool in TOOLS if tool not in absent]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    results = [Result(**json.loads(line)) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []
    results = [
        result
        for result in results
        if result.tool not in asked.again or not any(fnmatchcase(result.network, pattern) for pattern in asked.only)
    ]
    RESULTS.write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
    done = {(result.network, result.exporter, result.tool) for result in results}
    with RESULTS.open("a") as file:
        for name, make in ({} if asked.table else {**ZOO, **REAL_ZOO}).items():
            for exporter in asked.exporters if any(fnmatchcase(name, pattern) for pattern in asked.only) else ():
                left = [tool for tool in tools if (name, exporter, tool) not in done]
                for result in measure(name, make, exporter, left) if left else ():
                    results.append(result)
                    file.write(json.dumps(asdict(result)) + "\n")
                    file.flush()
    print(f"\n{table(results)}")
    if asked.plot:
        asked.plot.write_text(bars(shares(results), "files that can be pruned, %", mark=100.0))


if __name__ == "__main__":
    main()
