"""How much a residual block matters, for criteria that know nothing better."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from worker.graph.structure import Residual
from worker.graph.tensors import device_of
from worker.pruning.scoring import Scene, Scores

__all__ = ["block_scores"]

_BATCH = 64


def block_scores(scene: Scene, scores: Scores, entries: Mapping[str, Tensor]) -> Scores:
    """`scores` with an importance for every block that is left.

    With samples it is the Block Influence, `1 − cos(x, x + f(x))`, averaged over samples: Men et al., ShortGPT: Layers
    in Large Language Models are More Redundant Than You Expect, 2024, eq. 1, with a sample for a token. Without it is
    the mean importance of the entries of its layers, divided by that of all layers.
    """
    blocks = list(scene.structure.blocks_of(scene.selection))
    if not blocks:
        return scores
    scores = scores.copy()
    if scene.samples is not None:
        influence = _Influence(scene.network.module, blocks)
        device = device_of(scene.network)
        with torch.no_grad():
            for batch in scene.samples.batches(_BATCH):
                influence.run(*(value.to(device) for value in batch.inputs))
        for block in blocks:
            scores[block.component] = influence.totals[block.add] / max(influence.counts[block.add], 1)
        return scores
    weight = {layer.name: layer.weight for layer in scene.structure.layers}
    means = {name: float(value.mean(dtype=torch.float64)) for name, value in entries.items()}
    everywhere = np.mean([*means.values()]) if means else 1.0
    for block in blocks:
        inside = [means[weight[name]] for name in block.layers if weight[name] in means]
        scores[block.component] = float(np.mean(inside)) / max(float(everywhere), 1e-300) if inside else 0.0
    return scores


class _Influence(fx.Interpreter):
    """Runs the graph and adds up how far each block turns what passes it."""

    def __init__(self, module: fx.GraphModule, blocks: list[Residual]) -> None:
        super().__init__(module)
        self._blocks = {block.add: block for block in blocks}
        self.totals = dict.fromkeys(self._blocks, 0.0)
        self.counts = dict.fromkeys(self._blocks, 0)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        block = self._blocks.get(n.name)
        if block is not None:
            operands = [arg for arg in n.args if isinstance(arg, fx.Node)]
            skip = self.env[next(arg for arg in operands if arg.name != block.branch)]
            turned = 1 - torch.cosine_similarity(skip.flatten(1).double(), result.flatten(1).double())
            self.totals[n.name] += float(turned.sum())
            self.counts[n.name] += len(turned)
        return result
