"""What the tests and the page of architectures hold of every network of the zoo, in every format that torch writes."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.worker.formats.onnx.exporting import EXPORTERS, export_example
from tests.worker.formats.onnx.reading import LIMITS
from tests.worker.graph.exact import cut, draw, remeasured, share
from tests.worker.zoo_example import Example
from worker.formats.onnx import read_onnx
from worker.formats.pt2 import read_pt2
from worker.graph.network import Network
from worker.graph.obstacles import Blocked
from worker.graph.shapes import example_inputs
from worker.graph.structure import analyze

__all__ = ["EXACT", "FORMS", "Checked", "NotExportable", "check", "fresh_inputs", "read", "write"]

FORMS = ("pt2", *EXPORTERS)
"""A `.pt2`, or an ONNX file of an `exporter-opset`."""

EXACT = 1e-5
"""Largest accepted error, relative to the largest answer: rounding of float32 in another order."""

_LIMITS = LIMITS.model_copy(update={"model_nodes": 20_000, "memory_bytes": 2**33})
_DRAWS = ((0.3, 0, True), (0.6, 1, True), (0.4, 2, False))
"""Part that goes, seed, and whether channels that a mean or a variance runs over may go."""


class NotExportable(Exception):
    """torch itself cannot write the network in this form; the message is its reason, in one line."""


@dataclass(frozen=True)
class Checked:
    """Errors are relative to the largest answer, the largest of three random prunings. `zeroed` is None where none of
    the three left all statistics alone. `miscounted` names costs that were predicted and measured differently."""

    network: Network
    read: float
    masked: float
    zeroed: float | None
    change: float
    share: float
    components: int
    blocked: tuple[Blocked, ...]
    miscounted: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        errors = (self.read, self.masked, self.zeroed or 0.0)
        return max(errors) <= EXACT and not self.miscounted and self.change > 1e-3


def write(example: Example, form: str, path: Path) -> None:
    """Save the example in one of `FORMS`. Raises NotExportable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about its own code
            if form == "pt2":
                with path.open("wb") as file:  # to a path, torch writes no other suffix than .pt2 without a warning
                    torch.export.save(example.exported(), file)
            else:
                path.write_bytes(export_example(example, form).SerializeToString())
    except Exception as error:  # torch has no type for what it cannot export
        raise NotExportable(_reason(error)) from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def read(path: Path, form: str) -> Network:
    return (read_pt2 if form == "pt2" else read_onnx)(path, _LIMITS)


def fresh_inputs(example: Example) -> tuple[Tensor, ...]:
    """Random inputs of another batch size than the example was exported with, and of another length where that is
    free."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for tensor, free in zip(example.inputs, example.dynamic_shapes, strict=True):
        shape = [3 if axis == 0 else size + 4 * (axis in free) for axis, size in enumerate(tensor.shape)]
        if tensor.is_floating_point():
            found.append(torch.randn(shape, generator=generator))
        else:
            found.append(torch.randint(0, max(2, int(tensor.max()) + 1), shape, generator=generator))
    return tuple(found)


def check(example: Example, network: Network) -> Checked:
    """Compare with the module of the example, analyse, and prune in three ways."""
    inputs = fresh_inputs(example)
    with torch.no_grad():
        wanted = example.module(*inputs)
        answers = network(*inputs)
    wanted = wanted if isinstance(wanted, tuple | list) else (wanted,)
    structure = analyze(network, example_inputs(network))
    cuts, miscounted = [], []
    for part, seed, statistics in _DRAWS:
        keep = draw(structure, part, seed, statistics=statistics)
        cuts.append(cut(network, structure, keep, inputs))
        predicted, measured = structure.cost(keep), remeasured(cuts[-1].pruned)
        if (predicted.macs, predicted.params) != measured:
            miscounted.append(f"predicted {predicted}, measured {measured}")
    return Checked(
        network=network,
        read=max(_error(found, right) for found, right in zip(answers, wanted, strict=True)),
        masked=max(one.masked for one in cuts),
        zeroed=max((one.zeroed for one in cuts if one.zeroed is not None), default=None),
        change=min(one.change for one in cuts),
        share=share(network, structure),
        components=structure.component_count,
        blocked=structure.blocked,
        miscounted=tuple(miscounted),
    )


def _error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
