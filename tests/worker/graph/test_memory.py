"""The model of activation memory against a run that looks at what is alive."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from tests.worker.graph.test_blocks import drop, network_of, structure_of
from tests.worker.graph.test_equivalence import draw
from tests.worker.zoo import ZOO
from worker.graph.memory import activation_memory
from worker.graph.network import Network
from worker.graph.normalization import fold_batch_norms
from worker.graph.shapes import example_inputs
from worker.graph.surgery import remove


class _Watching(fx.Interpreter):
    """Runs a graph, lets go of what is not read any more, and remembers the largest sum of what is alive."""

    def __init__(self, network: Network) -> None:
        super().__init__(network.module)
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in network.module.state_dict().values()}
        self.peak = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        storages = {}
        for tensor in _tensors([result, *self.env.values()]):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        self.peak = max(self.peak, sum(size for where, size in storages.items() if where not in self._weights))
        return result


def _tensors(found: Any) -> list[Tensor]:
    if isinstance(found, Tensor):
        return [found]
    return [tensor for item in found for tensor in _tensors(item)] if isinstance(found, list | tuple) else []


def measured(network: Network) -> int:
    watching = _Watching(fold_batch_norms(network))
    with torch.no_grad():
        watching.run(*example_inputs(network))
    return watching.peak


NETS = ("resnet", "resnext", "mobilenet-v3", "densenet", "unet", "swin", "bert", "lstm")
SLOW = tuple(name for name in ZOO if name not in NETS)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # of torch.export, about recurrent layers
@pytest.mark.parametrize("name", [*NETS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_peak_is_that_of_a_run(name: str) -> None:
    network, structure = network_of(name), structure_of(name)
    memory = activation_memory(network, structure)
    whole, half = structure.everything(), draw(structure, 0.5, 0)
    for selection in (whole, half, drop(structure, half, 0.5, 0) if structure.blocks else draw(structure, 0.7, 1)):
        found = float(memory.of(structure.kept_channels(selection)))
        assert found == measured(remove(network, structure, selection))


def test_several_states_are_evaluated_at_once() -> None:
    network, structure = network_of("resnet"), structure_of("resnet")
    memory = activation_memory(network, structure)
    states = np.stack([structure.kept_channels(drop(structure, draw(structure, 0.5, i), 0.3, i)) for i in range(70)])
    assert memory.of(states).tolist() == [float(memory.of(state)) for state in states]
    assert memory.of(states.reshape(7, 10, -1)).shape == (7, 10)


def test_only_what_is_alive_at_the_peak_saves_anything() -> None:
    network, structure = network_of("unet"), structure_of("unet")
    memory = activation_memory(network, structure)
    kept = structure.kept_channels(structure.everything())
    saved = memory.saved(kept, kept, kept - 1)
    for group, gain in enumerate(saved):
        less = kept.copy()
        less[group] -= 1
        # The peak may move elsewhere, so that less is saved than to first order; but never more.
        assert float(memory.of(kept) - memory.of(less)) <= gain
    assert (saved == 0).any()
    assert (saved > 0).any()
