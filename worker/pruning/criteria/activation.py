"""Units that answer little matter little."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, fx

from worker.errors import JobFailed
from worker.graph.tensors import device_of
from worker.graph.values import Value
from worker.pruning.scoring import Scene, Scores, present, samples_of, weights_of_layers
from worker.pruning.units import joined, member

__all__ = ["Activation"]

_BATCH = 64


class Activation:
    """`I = E[Σ|a|^p]` of the unit's activations where they are read, over samples and positions, p = 1 or 2 by
    `prune.norm`. Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017,
    §2.2 (mean activation); Hu et al., Network Trimming, 2016, count zeros instead.
    """

    per_cost: ClassVar[bool] = False

    def score(self, scene: Scene) -> Scores:
        samples = samples_of(scene, "activation")
        meter = _Meter(scene)
        device = device_of(scene.network)
        done = 0
        with torch.no_grad():
            for batch in samples.batches(_BATCH):
                meter.run(*(value.to(device) for value in batch.inputs))
                done += len(batch.rows)
                scene.progress(done / len(samples))
        members = [member(meter.numbers[source], total.cpu().numpy()) for source, total in meter.totals.items()]
        return joined(scene, members, {name: weight.abs() for name, weight in weights_of_layers(scene).items()})

    def entries(self, _scene: Scene) -> dict[str, Tensor]:
        raise JobFailed("the criterion activation scores whole units and no single weights; use wanda, or magnitude")


class _Meter(fx.Interpreter):
    """Runs the graph and adds up the powers of what layers read, by channel."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.network.module)
        self._power = 1 if scene.prune.norm == "l1" else 2
        self._axes: dict[str, int] = {}
        self.numbers: dict[str, np.ndarray] = {}
        self.totals: dict[str, Tensor] = {}
        for consumer in scene.structure.consumers_of(scene.selection):
            flow = scene.structure.flows[consumer.source]
            if isinstance(flow, Value) and flow.tracked == [consumer.axis]:
                self._axes[consumer.source] = consumer.axis
                self.numbers[consumer.source] = present(flow.labels.reshape(-1), scene.selection)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self._axes:
            others = [axis for axis in range(result.dim()) if axis != self._axes[n.name]]
            total = result.double().abs().pow(self._power).sum(others)
            self.totals[n.name] = self.totals[n.name] + total if n.name in self.totals else total
        return result
