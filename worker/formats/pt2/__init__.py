"""The reader of `.pt2` files (`torch.export.save`): archive, schema, graph, tensors, in the order of the bytes."""

from worker.formats.pt2.reader import read_pt2

__all__ = ["read_pt2"]
