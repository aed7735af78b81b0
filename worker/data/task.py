"""What is learnt: told from the labels and the model's first output."""

import numpy as np
import numpy.typing as npt

from service.contract.fit import Misfit, check_classes
from worker.data.batches import Task
from worker.errors import MismatchedDataset
from worker.graph.network import TensorSpec

__all__ = ["task_of"]


def task_of(labels: npt.NDArray[np.generic] | None, outputs: tuple[TensorSpec, ...]) -> Task:
    """Integers of shape (N,) are classes, reals are regression targets, None is unlabelled.

    Classes need a first output of shape (batch, classes) and lie in 0..classes-1; real labels have as many values per
    sample as the first output. A size that the model leaves free is not checked. With or without labels the first
    output is what is trained and judged: real numbers of shape (batch, ...). Raises MismatchedDataset.
    """
    output = outputs[0]
    if len(output.shape) < 2 or not output.dtype.is_floating_point:
        raise MismatchedDataset(
            f"the model's first output `{output.name}` is {output.info.dtype} of shape {_shape(output)}, and only real "
            "numbers of shape (batch, values) can be trained and judged: export the model without its last argmax or "
            "squeeze, or submit the job without a dataset"
        )
    if labels is None:
        return "unlabelled"
    if labels.dtype.kind == "f":
        _check_targets(labels, output)
        return "regression"
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise MismatchedDataset(
            f"labels are {labels.dtype} of shape {labels.shape}: give one class index per sample (integers of shape "
            "(N,)) or real-valued targets (floats)"
        )
    if len(labels):
        try:
            check_classes(int(labels.min()), int(labels.max()), output.info)
        except Misfit as misfit:
            raise MismatchedDataset(misfit.detail) from misfit
    return "classification"


def _check_targets(labels: npt.NDArray[np.generic], output: TensorSpec) -> None:
    if not np.isfinite(labels).all():
        raise MismatchedDataset("labels hold NaN or infinite values: remove those samples")
    sizes = [size for size in output.shape[1:] if isinstance(size, int)]
    per_sample = int(np.prod(labels.shape[1:], dtype=np.int64))
    if len(sizes) == len(output.shape) - 1 and int(np.prod(sizes, dtype=np.int64)) != per_sample:
        raise MismatchedDataset(
            f"labels have shape {labels.shape} and the model's first output `{output.name}` is {_shape(output)}: "
            "give as many target values per sample as the model has outputs"
        )


def _shape(output: TensorSpec) -> str:
    return f"({', '.join(map(str, output.shape))}{',' if len(output.shape) == 1 else ''})"
