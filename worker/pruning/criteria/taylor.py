"""What the loss would lose."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, fx, nn

from worker.data.batches import Batch
from worker.errors import JobFailed
from worker.graph.shapes import Recorded, example_inputs, record_shapes
from worker.graph.tensors import device_of
from worker.graph.values import Value
from worker.pruning.scoring import Scene, Scores, present

__all__ = ["Taylor"]

_BATCH = 128


class Taylor:
    """Expected square of the first-order change of the loss when a channel is removed.

    `I = mean over samples of (Σ over consumers Σ over positions a · ∂L/∂a)²`, where a is the channel as it enters an op
    that sums over channels. Removing a channel sets exactly these inputs to 0, each once, so coupled layers add up
    before the square without being counted twice. The square is taken per sample: Molchanov et al., Importance
    Estimation for Neural Network Pruning, CVPR 2019, eq. 8; coupled channels: Liu et al., Group Fisher Pruning,
    ICML 2021, eq. 8. Near a minimum it is the diagonal Fisher estimate of the increase of the loss (Theis et al.,
    Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018, eq. 9).

    The loss is cross-entropy against the labels, or against the class that the dense model predicts; for regression
    the squared error, or half the squared output where there are no targets.
    """

    needs_data: ClassVar[bool] = True
    uses_labels: ClassVar[bool] = True
    per_cost: ClassVar[bool] = True

    def score(self, scene: Scene) -> Scores:
        if scene.samples is None:
            raise JobFailed("the criterion taylor needs a dataset; give one, or use magnitude")
        gated = _Gated(scene)
        total = torch.zeros(scene.structure.component_count + 1, dtype=torch.float64)
        count = 0
        for batch in scene.samples.batches(_BATCH):
            for part in (batch,) if gated.apart else _singly(batch):
                total += gated.changes(part).double().square().sum(0).cpu()
            count += len(batch.rows)
            scene.progress(count / len(scene.samples))
        return np.asarray(total.numpy() / max(count, 1))


class _Gated(fx.Interpreter):
    """Runs the network with every consumer's input multiplied by gates of 1, one per sample and channel: the gradient
    of a gate is Σ a · ∂L/∂a.

    `apart` says whether axis 0 of every gated value is the batch. Where a network moves or merges that axis (sequences
    before samples, say), the samples of a batch cannot be told from each other there, and have to come one by one.
    """

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.network.module)
        self._scene = scene
        self._gates: list[tuple[Tensor, Tensor]] = []
        self._consumers = {consumer.node: consumer for consumer in scene.structure.consumers}
        self._numbers: dict[str, Tensor] = {}
        self._device = device_of(scene.network)
        for consumer in scene.structure.consumers:
            flow = scene.structure.flows[consumer.source]
            if isinstance(flow, Value) and flow.tracked == [consumer.axis]:
                numbers = present(flow.labels.reshape(-1), scene.selection)
                if numbers.any():
                    self._numbers[consumer.node] = torch.from_numpy(numbers).to(self._device)
        one, two = (record_shapes(scene.network, example_inputs(scene.network, batch)) for batch in (1, 2))
        sources = {self._consumers[node].source for node in self._numbers}
        self.apart = all(_length(one[source]) == 1 and _length(two[source]) == 2 for source in sources)

    def run_node(self, n: fx.Node) -> Any:
        if n.name not in self._numbers:
            return super().run_node(n)
        consumer = self._consumers[n.name]
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        position = next(i for i, arg in enumerate(n.args) if isinstance(arg, fx.Node) and arg.name == consumer.source)
        value = args[position]
        kept = (0, consumer.axis) if self.apart else (consumer.axis,)
        shape = [size if axis in kept else 1 for axis, size in enumerate(value.shape)]
        gate = torch.ones(shape, dtype=value.dtype, device=value.device, requires_grad=True)
        self._gates.append((gate, self._numbers[n.name]))
        return self.call_function(n.target, (*args[:position], value * gate, *args[position + 1 :]), kwargs)

    def changes(self, batch: Batch) -> Tensor:
        """(B, components + 1): first-order change of each sample's loss per component. B is 1 unless `apart`."""
        self._gates.clear()
        with torch.enable_grad():
            inputs = tuple(tensor.to(self._device) for tensor in batch.inputs)
            output = self.run(*inputs)[0]
            loss = _loss(output, inputs, batch.labels, self._scene)
            # What feeds only other outputs than the first is not in the loss: its gradient is 0.
            gradients = torch.autograd.grad(loss, [gate for gate, _ in self._gates], materialize_grads=True)
        width = self._scene.structure.component_count + 1
        changes = torch.zeros(len(batch.rows), width, dtype=output.dtype, device=output.device)
        for gradient, (_, numbers) in zip(gradients, self._gates, strict=True):
            changes.index_add_(1, numbers, gradient.reshape(len(batch.rows), -1))
        return changes


def _length(recorded: Recorded) -> int | None:
    return recorded[0] if isinstance(recorded, torch.Size) else None


def _singly(batch: Batch) -> Iterator[Batch]:
    for index in range(len(batch.rows)):
        row = slice(index, index + 1)
        labels = None if batch.labels is None else batch.labels[row]
        yield Batch(tuple(value[row] for value in batch.inputs), labels, batch.rows[row])


def _loss(output: Tensor, inputs: tuple[Tensor, ...], labels: Tensor | None, scene: Scene) -> Tensor:
    """Sum over the samples, so that each gate's gradient is that of its own sample."""
    flat = output.flatten(1)
    if labels is not None:
        labels = labels.to(output.device)
        if scene.task == "regression":
            return (flat - labels.reshape(flat.shape)).square().sum()
        return nn.functional.cross_entropy(flat, labels, reduction="sum")
    if scene.task == "regression" or flat.shape[1] == 1:
        return flat.square().sum() / 2
    with torch.no_grad():
        predicted = scene.dense(*inputs)[0].flatten(1).argmax(1)
    return nn.functional.cross_entropy(flat, predicted, reduction="sum")
