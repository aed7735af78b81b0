"""Predicted times: how they are put together. How long things take is not tested: machines differ."""

import math

import numpy as np
import pytest

from tests.worker.graph.test_blocks import network_of, structure_of
from tests.worker.graph.test_equivalence import draw
from worker.export.kernels import Kernel, time_kernels
from worker.graph.memory import activation_memory
from worker.graph.surgery import remove
from worker.pruning.latency import LayerTimes, layer_times
from worker.pruning.widths import wide_layers

NETS = ["mobilenet-v3", "resnext", "unet", "bert"]


def times_of(name: str) -> LayerTimes:
    return layer_times(structure_of(name), activation_memory(network_of(name), structure_of(name)), 2.0)


@pytest.mark.parametrize("name", NETS)
def test_a_layer_is_timed_in_the_shapes_that_pruning_leaves(name: str) -> None:
    structure = structure_of(name)
    selection = draw(structure, 0.5, 0)
    kept = structure.kept_channels(selection)
    left = dict(remove(network_of(name), structure, selection).parameters())
    # The table of an embedding is no layer that multiplies.
    layers = [layer for layer in structure.layers if layer.op != "embedding"]
    kernels = [
        layer.at(round(float(layer.incoming.of(kept))), round(float(layer.outgoing.of(kept))))
        for layer in wide_layers(structure)
    ]
    found = {kernel.weight[::-1] if kernel.op == "MatMul" else kernel.weight for kernel in kernels}
    assert found == {tuple(left[layer.weight].shape) for layer in layers}


@pytest.mark.parametrize("name", ["mobilenet-v3", "bert"])
def test_the_whole_takes_what_was_measured_and_less_of_it_less(name: str) -> None:
    structure, times = structure_of(name), times_of(name)
    states = np.stack([structure.kept_channels(draw(structure, share, 0)) for share in (0.0, 0.3, 0.6)])
    states[0] = structure.kept_channels(structure.everything())
    found = times.of(states)
    assert found[0] == pytest.approx(2.0)
    assert 0 < found[2] < found[1] < found[0]
    kept = states[1]
    less = np.maximum(kept - 8, 0)
    less[len(kept) - len(structure.blocks) :] = 0
    for group, saved in enumerate(times.saved(kept, kept, less)):
        state = kept.copy()
        state[group] = less[group]
        assert saved == pytest.approx(float(times.of(kept) - times.of(state)))


def test_time_is_a_step_function_of_blocks_of_eight() -> None:
    structure, times = structure_of("unet"), times_of("unet")
    layer, table = max(times.layers, key=lambda each: each[0].outgoing.most)
    assert layer.outgoing.most >= 24
    counts = np.arange(9.0, 17.0)
    inside = table(np.full(8, float(layer.incoming.most)), counts)
    assert (inside == inside[0]).all()
    assert structure.groups


def test_what_does_not_run_alone_spoils_nothing_else() -> None:
    good = Kernel("Conv", (1, 8, 10, 10), (8, 8, 3, 3), (("group", 1),))
    bad = Kernel("Conv", (1, 8, 10, 10), (8, 8, 3, 3), (("group", 3),))
    found = time_kernels([good, bad, good])
    assert [math.isnan(time) for time in found] == [False, True, False]
    assert found[0] > 0
