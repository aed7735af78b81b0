"""An upload read and described: what a client sees once its model or dataset is `ready`."""

from service.contract.resources import DatasetProfile, ModelProfile
from worker.formats.dataset import describe_dataset, read_dataset
from worker.formats.model import read_model
from worker.order import InspectOrder
from worker.profile import profile

__all__ = ["inspect"]


def inspect(order: InspectOrder) -> ModelProfile | DatasetProfile:
    """Read the upload of `order` and describe it.

    Raises:
        UnreadableModel, UnreadableDataset: the upload is refused; see `read_model` and `read_dataset`.
    """
    if order.kind == "model":
        return profile(read_model(order.upload.path, order.limits))
    return describe_dataset(read_dataset(order.upload.path, order.limits))
