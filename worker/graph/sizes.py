"""How large `model.onnx` will be, without writing it."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import fx

from worker.graph.cost import CostModel, Counts, Polynomial
from worker.graph.network import Network
from worker.graph.structure import Structure

__all__ = ["FileSize", "file_size"]

aten = torch.ops.aten

# Names, attributes and shapes, measured on exported networks of 14 kinds: 105 to 230.
_BYTES_PER_CALL = 150
_FOLDING = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default})
_BIAS, _MEAN = 2, 3  # positions among the arguments


@dataclass(frozen=True)
class FileSize:
    """`tensors` are the bytes of the tensors in the file; those of batch norms that are folded into the layer before
    them are not, but for a bias where the layer had none."""

    model: CostModel
    tensors: Polynomial

    @property
    def parts(self) -> tuple[tuple[float, Polynomial], ...]:
        """The polynomials that add up to the estimate, and what each counts for."""
        return (1.0, self.tensors), (float(_BYTES_PER_CALL), self.model.nodes)

    def bytes(self, kept: Counts) -> Counts:
        """Estimated bytes of the file, for kept channels per group, (…, groups)."""
        counts = self.model.counts(kept)
        return np.asarray(sum(weight * polynomial.total(counts) for weight, polynomial in self.parts))


def file_size(network: Network, structure: Structure) -> FileSize:
    """The size of the ONNX file of what any selection leaves of `network`, which `structure` is the analysis of."""
    tensors, model = network.module.state_dict(), structure.model
    folded = _folded(network.module.graph)
    weight = np.array(
        [0 if name in folded else tensors[name].element_size() for name in model.tensor_names], dtype=np.float64
    )
    entries = model.tensors
    return FileSize(model, replace(entries, coefficients=entries.coefficients * weight[entries.layers]))


def _folded(graph: fx.Graph) -> set[str]:
    """Tensors that folding leaves out."""
    gone = set()
    for norm in graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        layer = norm.args[0]
        if layer.target in _FOLDING and len(layer.users) == 1:
            biased = len(layer.args) > _BIAS and layer.args[_BIAS] is not None
            own = [node for node in norm.args[1:5] if isinstance(node, fx.Node)]
            gone |= {str(node.target) for node in own if biased or node is not norm.args[_MEAN]}
    return gone
