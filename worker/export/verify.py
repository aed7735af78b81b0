"""The written file against the network it was written from: ONNX Runtime and torch on the same inputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import Tensor

from worker.data.batches import Samples
from worker.data.predictions import Predictions
from worker.errors import ExportMismatch
from worker.export.session import open_session
from worker.export.wire import opset_in
from worker.graph.network import Network
from worker.graph.shapes import example_inputs

__all__ = ["OnnxCheck", "verify_onnx"]

_BATCHES = (1, 3)
_BATCH_SIZE = 256

_TOLERANCE = 1e-3
"""Largest accepted error relative to the largest output.

The runtimes add the same products in another order. With n terms that costs about 6e-8 · √n in each layer, below 4e-6
for 4096 terms, and errors of layers add up: 1e-3 is reached by some hundred layers at worst. A wrong weight, axis or
epsilon shows at 1e-2 and above.
"""


@dataclass(frozen=True)
class OnnxCheck:
    """`max_rel_error` is relative to the largest absolute value of the outputs of the same batch. The rest is None
    without samples: `accuracy` and `agrees_with_torch` (same largest output) are per cent of the samples, and
    `predictions` are the answers of the file; `accuracy` needs class labels."""

    opset: int
    max_abs_error: float
    max_rel_error: float
    predictions: Predictions | None
    accuracy: float | None
    agrees_with_torch: float | None


def verify_onnx(path: Path, network: Network, samples: Samples | None, threads: int = 1) -> OnnxCheck:
    """Run the file in ONNX Runtime and compare it with `network` on random inputs in batches of 1 and 3, and on all of
    `samples`.

    Raises ExportMismatch when an output differs by more than 1e-3 of the largest one, or in shape.
    """
    comparison = _Comparison(open_session(path, threads), network)
    for batch in _BATCHES:
        comparison.add(example_inputs(network, batch=batch, seed=batch))
    opset = opset_in(path)
    if samples is None:
        return OnnxCheck(opset, comparison.max_abs_error, comparison.max_rel_error, None, None, None)
    predictions, same = _predict(comparison, samples)
    labels = predictions.labels
    correct = None
    if labels is not None and labels.dtype == np.int64:
        correct = 100.0 * float(np.mean(predictions.logits.argmax(axis=1) == labels))
    return OnnxCheck(opset, comparison.max_abs_error, comparison.max_rel_error, predictions, correct, same)


class _Comparison:
    """Runs both sides and keeps the largest errors."""

    def __init__(self, session: ort.InferenceSession, network: Network) -> None:
        self._session = session
        self._network = network
        self._device = next((parameter.device for _, parameter in network.parameters()), torch.device("cpu"))
        self.max_abs_error = 0.0
        self.max_rel_error = 0.0

    def add(self, inputs: tuple[Tensor, ...]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """The first output of ONNX Runtime and of torch."""
        feed = {spec.name: tensor.cpu().numpy() for spec, tensor in zip(self._network.inputs, inputs, strict=True)}
        names = [spec.name for spec in self._network.outputs]
        found = self._session.run(names, feed)
        with torch.no_grad():
            wanted = [output.cpu().numpy() for output in self._network(*(x.to(self._device) for x in inputs))]
        for name, ours, theirs in zip(names, found, wanted, strict=True):
            self._compare(name, ours, theirs)
        return found[0], wanted[0]

    def _compare(self, name: str, found: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> None:
        if found.shape != wanted.shape:
            raise ExportMismatch(f"output {name!r}: ONNX Runtime answers shape {found.shape}, torch {wanted.shape}")
        error = float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max(initial=0.0))
        scale = float(np.abs(wanted.astype(np.float64)).max(initial=0.0))
        relative = error / scale if scale else error
        if not relative <= _TOLERANCE:  # also when it is NaN
            raise ExportMismatch(
                f"output {name!r} of ONNX Runtime differs from torch by {error:.3g}, {relative:.3g} of the largest "
                f"value; {_TOLERANCE:g} is accepted"
            )
        self.max_abs_error = max(self.max_abs_error, error)
        self.max_rel_error = max(self.max_rel_error, relative)


def _predict(comparison: _Comparison, samples: Samples) -> tuple[Predictions, float]:
    """The answers of the file, and the per cent of samples with the same answer in torch."""
    logits, labels, rows, same = [], [], [], 0
    for batch in samples.batches(_BATCH_SIZE):
        found, wanted = (output.reshape(len(output), -1) for output in comparison.add(batch.inputs))
        logits.append(found)
        rows.append(batch.rows.numpy())
        if batch.labels is not None:
            labels.append(batch.labels.numpy())
        same += int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    predictions = Predictions(np.concatenate(logits), np.concatenate(labels) if labels else None, np.concatenate(rows))
    return predictions, 100.0 * same / len(predictions.rows)
