"""What the loss would lose."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, fx

from worker.data.batches import Batch
from worker.graph.shapes import Recorded, example_inputs, record_shapes
from worker.graph.tensors import device_of
from worker.graph.values import Value
from worker.pruning.gradients import balanced, classes_of, loss_of, squared_gradients
from worker.pruning.scoring import Scene, Scores, present, samples_of

__all__ = ["Taylor"]

_BATCH = 128
# Changes of single samples that are remembered: 64 MiB, and some copies of the largest group's.
_MOST_CHANGES = 2**24
_TIE = 1e-9


class Taylor:
    """Expected square of the first-order change of the loss when channels are removed.

    `δ = Σ over consumers Σ over positions a · ∂L/∂a` of one sample, where a is the channel as it enters an op that sums
    over channels, and `I = mean over samples of δ²`. Removing a channel sets exactly these inputs to 0, each once, so
    coupled layers add up before the square without being counted twice. The square is taken per sample: Molchanov et
    al., Importance Estimation for Neural Network Pruning, CVPR 2019, eq. 8; coupled channels: Liu et al., Group Fisher
    Pruning, ICML 2021, eq. 8. Near a minimum it is the diagonal Fisher estimate of the increase of the loss (Theis et
    al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018, eq. 9).

    What goes together is judged together: the k least important channels of a group cost `J_k = mean of (δ_1 + … +
    δ_k)²`, and the score of the k-th is `J_k − J_(k−1)`, or that of the one before where it is less. This is the
    quadratic form of the empirical Fisher matrix (Singh and Alistarh, WoodFisher, NeurIPS 2020, eq. 2 and 3) with
    everything off its diagonal within a group: the sum of the I would take half a layer for little more than its
    parts.

    The gate of a residual block is on its branch: what the block adds, `Σ a · ∂L/∂a` over all of it. For single weights
    `I(w) = E[(w · ∂L/∂w)²]`, the same with a weight for an activation.

    With `prune.balance` the mean is over the samples of each class, and a unit counts as much as it does for the class
    that needs it most. The loss is that of `worker.pruning.gradients.loss_of`.
    """

    per_cost: ClassVar[bool] = True

    def score(self, scene: Scene) -> Scores:
        samples = samples_of(scene, "taylor")
        gated = _Gated(scene)
        width = scene.structure.component_count + 1
        totals: dict[int, Tensor] = {}
        counts: dict[int, int] = {}
        remembered: dict[int, list[Tensor]] = {}
        room, count = max(_MOST_CHANGES // width, _BATCH), 0
        for batch in samples.batches(_BATCH):
            for part in (batch,) if gated.apart else _singly(batch):
                changes = gated.changes(part).cpu()
                classes = _classes(part, scene)
                for group in sorted(set(classes.tolist())):
                    found = changes[classes == group]
                    total = totals.setdefault(group, torch.zeros(width, dtype=torch.float64))
                    total += found.double().square().sum(0)
                    counts[group] = counts.get(group, 0) + len(found)
                    if count < room:
                        remembered.setdefault(group, []).append(found)
            count += len(batch.rows)
            scene.progress(count / len(samples))
        means = {
            group: {"": _together(scene, total / counts[group], remembered.get(group, []))}
            for group, total in totals.items()
        }
        joined = balanced(means) if scene.prune.balance == "class" else means[0]
        return np.asarray(joined[""].numpy())

    def entries(self, scene: Scene) -> dict[str, Tensor]:
        return squared_gradients(scene, "taylor", lambda weight, gradient: (weight * gradient).square())


def _together(scene: Scene, alone: Tensor, remembered: list[Tensor]) -> Tensor:
    """What each component costs once the less important ones of its group are gone, `J_k − J_(k−1)`.

    `alone` is I, (components + 1,), over all samples; the J are over the samples whose δ, (n, components + 1), are
    remembered, in the proportion in which they have I themselves. Never falls in the order of I, so that sorting by
    either gives the same order.
    """
    if not remembered:
        return alone
    changes, scores = torch.cat(remembered), alone.clone()
    for group in scene.structure.groups:
        left = torch.from_numpy(group.components[scene.selection[group.components]])
        members = left[alone[left].argsort(stable=True)]
        if len(members) < 2:
            continue
        some = changes[:, members].double()
        costs = some.cumsum(1).square().mean(0)
        marginal = torch.cat([costs[:1], costs.diff()]).cummax(0).values
        seen = some.square().mean(0).sum()
        scale = alone[members].sum() / seen if seen > 0 else torch.ones((), dtype=torch.float64)
        # Where the costs do not rise, I alone decides who goes first.
        scores[members] = scale * marginal * (1 + _TIE * torch.arange(len(members), dtype=torch.float64))
    return scores


def _classes(batch: Batch, scene: Scene) -> Tensor:
    """(B,): what the samples are averaged by."""
    if scene.prune.balance == "class":
        device = device_of(scene.dense)
        return classes_of(tuple(value.to(device) for value in batch.inputs), batch.labels, scene).cpu()
    return torch.zeros(len(batch.rows), dtype=torch.int64)


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
        left = scene.structure.consumers_of(scene.selection)
        self._consumers = {consumer.node: consumer for consumer in left}
        self._blocks = {block.add: block for block in scene.structure.blocks_of(scene.selection)}
        self._numbers: dict[str, Tensor] = {}
        self._device = device_of(scene.network)
        for consumer in left:
            flow = scene.structure.flows[consumer.source]
            if isinstance(flow, Value) and flow.tracked == [consumer.axis]:
                numbers = present(flow.labels.reshape(-1), scene.selection)
                if numbers.any():
                    self._numbers[consumer.node] = torch.from_numpy(numbers).to(self._device)
        one, two = (record_shapes(scene.network, example_inputs(scene.network, batch)) for batch in (1, 2))
        sources = {self._consumers[node].source for node in self._numbers}
        sources |= {block.branch for block in self._blocks.values()}
        self.apart = all(_length(one[source]) == 1 and _length(two[source]) == 2 for source in sources)

    def run_node(self, n: fx.Node) -> Any:
        if n.name in self._numbers:
            consumer = self._consumers[n.name]
            return self._gated(n, consumer.source, consumer.axis, self._numbers[n.name])
        if n.name in self._blocks:
            block = self._blocks[n.name]
            return self._gated(n, block.branch, None, torch.tensor([block.component], device=self._device))
        return super().run_node(n)

    def _gated(self, n: fx.Node, source: str, axis: int | None, numbers: Tensor) -> Any:
        """`n` with its argument `source` multiplied by a gate for each entry of `axis`, or by one for all."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        position = next(i for i, arg in enumerate(n.args) if isinstance(arg, fx.Node) and arg.name == source)
        value = args[position]
        kept = {0, axis} if self.apart else {axis}
        shape = [size if place in kept else 1 for place, size in enumerate(value.shape)]
        gate = torch.ones(shape, dtype=value.dtype, device=value.device, requires_grad=True)
        self._gates.append((gate, numbers))
        return self.call_function(n.target, (*args[:position], value * gate, *args[position + 1 :]), kwargs)

    def changes(self, batch: Batch) -> Tensor:
        """(B, components + 1): first-order change of each sample's loss per component. B is 1 unless `apart`."""
        self._gates.clear()
        with torch.enable_grad():
            inputs = tuple(tensor.to(self._device) for tensor in batch.inputs)
            output = self.run(*inputs)[0]
            loss = loss_of(output, inputs, batch.labels, self._scene)
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
