"""load: untrusted bytes → a network, and data that fits it."""

from dataclasses import dataclass

from service.contract.recipe import Recipe
from worker.data.batches import Task
from worker.data.dataset import Dataset
from worker.data.split_samples import SplitSamples
from worker.data.splits import Split, Splits, make_splits
from worker.data.task import task_of
from worker.data.transform import InputTransform
from worker.errors import MismatchedDataset
from worker.formats.dataset import read_dataset
from worker.formats.model import read_model
from worker.graph.network import Network
from worker.order import JobOrder

__all__ = ["Data", "Loaded", "load"]


@dataclass(frozen=True)
class Data:
    """A dataset divided into splits, each a stream of batches that fit the network."""

    dataset: Dataset
    splits: Splits
    transform: InputTransform
    task: Task

    def samples(self, split: Split) -> SplitSamples:
        return SplitSamples(self.dataset, split.rows, self.transform, self.task)

    @property
    def train(self) -> SplitSamples:
        return self.samples(self.splits.train)

    @property
    def calibration(self) -> SplitSamples:
        return self.samples(self.splits.calibration)

    @property
    def tuning(self) -> SplitSamples:
        return self.samples(self.splits.tuning)

    @property
    def confirm(self) -> SplitSamples:
        return self.samples(self.splits.confirm)


@dataclass(frozen=True)
class Loaded:
    """The dense network as uploaded, in inference mode, and the data of the job, if it has any."""

    dense: Network
    data: Data | None
    recipe: Recipe


def load(order: JobOrder) -> Loaded:
    """Read the uploads of a job.

    Raises:
        UnreadableModel, UnreadableDataset: see `read_model` and `read_dataset`.
        MismatchedDataset: the samples or labels do not fit the network, or leave nothing to calibrate on.
    """
    network = read_model(order.model.path, order.limits)
    if order.dataset is None:
        return Loaded(network, None, order.recipe)
    dataset = read_dataset(order.dataset.path, order.limits)
    transform = InputTransform.build(order.recipe.input, dataset, network.inputs)
    task = task_of(dataset.labels, network.outputs)
    splits = make_splits(dataset, order.recipe.audit.calibration_samples, order.recipe.seed)
    if not len(splits.calibration) or not len(splits.confirm):
        removed = splits.duplicates_removed
        raise MismatchedDataset(
            f"the dataset leaves {len(splits.train)} samples for training and {len(splits.confirm)} for the verdict"
            + (f" after {removed} training samples that are also test samples were set aside" if removed else "")
            + "; both need some: add samples, or submit the job without a dataset for a data-free prune"
        )
    recipe = order.recipe.model_copy(update={"input": transform.resolved})
    return Loaded(network, Data(dataset, splits, transform, task), recipe)
