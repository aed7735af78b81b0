"""The activations that a pruned network still has in common with the dense one."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.graph.structure import Selection, Structure
from worker.graph.values import Value

__all__ = ["Inner", "inner_values"]


@dataclass(frozen=True)
class Inner:
    """What enters an op that sums over channels. `node` names it in both graphs; along `axis` the pruned network has
    the dense channels `kept`, or all of them where that is None."""

    node: str
    axis: int
    kept: npt.NDArray[np.int64] | None


def inner_values(structure: Structure, selection: Selection) -> tuple[Inner, ...]:
    """One for every value that a convolution, linear layer or product sums over. Inputs of the network are not among
    them: nothing can be learnt from these."""
    found: dict[str, Inner] = {}
    inputs = {node.name for node in structure.graph.find_nodes(op="placeholder")}
    for consumer in structure.consumers_of(selection):
        flow = structure.flows[consumer.source]
        if consumer.source in inputs or not isinstance(flow, Value) or flow.tracked != [consumer.axis]:
            continue
        keep = selection[flow.labels.reshape(-1)]
        kept = None if keep.all() else np.flatnonzero(keep)
        found[consumer.source] = Inner(consumer.source, consumer.axis, kept)
    return tuple(found.values())
