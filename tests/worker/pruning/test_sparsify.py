"""Zeros: how many, where, and that they stay."""

from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from service.contract.recipe import LayerRule, Prune
from tests.worker.networks import traced
from tests.worker.pruning.samples import TensorSamples
from tests.worker.pruning.sparse_scene import Given, mixed, scene_of, weights_by_name
from worker.errors import JobFailed, NothingRemoved, TargetUnreachable
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.pruning.criteria import CRITERIA
from worker.pruning.masks import Masks, masks_of, zeros_of
from worker.pruning.sparse.tiles import as_rows, from_rows
from worker.pruning.sparsify import sparsify

WEIGHTS = tuple(f"{name}.weight" for name in ("stem", "depthwise", "wide", "up", "grouped", "hidden", "head"))
# (outputs, inputs) axes; the weight of a transposed convolution is stored (inputs, outputs, height, width).
AXES = {name: (1, 0) if name == "up.weight" else (0, 1) for name in WEIGHTS}


def run(network: Network, sparsity: float, share: float = 1.0, masks: Masks | None = None, **prune: Any) -> Any:
    recipe = Prune.model_validate({"granularity": "unstructured", **prune})
    samples = TensorSamples(example_inputs(network, 32)[0], torch.arange(32) % 5)
    return sparsify(scene_of(network, recipe, samples, masks=masks), Given(), sparsity, share)


def total(masks: Masks) -> int:
    return sum(mask.numel() for mask in masks.values())


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "isomorphic", "sensitivity"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.873, 0.99])
def test_single_weights_are_zero_to_the_exact_count(allocation: str, sparsity: float) -> None:
    network = mixed()
    pruned, masks = run(network, sparsity, allocation=allocation)
    assert set(masks) == set(WEIGHTS)
    assert zeros_of(masks) == ceil(sparsity * total(masks) - 1e-9)
    before, after = weights_by_name(network), weights_by_name(pruned)
    for name, weight in before.items():
        wanted = weight * masks[name] if name in masks else weight
        assert torch.equal(after[name], wanted)
        assert not (after[name] == 0).all()


def test_the_sparse_network_is_the_dense_one_with_zeros() -> None:
    network = mixed()
    pruned, masks = run(network, 0.6)
    inputs = example_inputs(network, 3)
    dense = dict(network.module.named_parameters())
    with torch.no_grad():
        wanted = pruned(*inputs)[0]
        original = network(*inputs)[0]
        for name, mask in masks.items():
            dense[name].mul_(mask)
        assert torch.equal(network(*inputs)[0], wanted)
    assert (wanted - original).abs().max() > 1e-3


def test_global_takes_the_smallest_weights_wherever_they_are() -> None:
    network = mixed()
    _, masks = run(network, 0.5, min_keep=0.001)
    weights = weights_by_name(network)
    gone = torch.cat([weights[name][~mask].abs() for name, mask in masks.items()])
    kept = torch.cat([weights[name][mask].abs() for name, mask in masks.items()])
    assert gone.max() <= kept.min()


def test_a_layer_keeps_its_share_of_what_an_even_cut_would_leave() -> None:
    network = mixed()
    worthless = {"hidden.weight": torch.zeros(20, 18)}
    recipe = Prune(granularity=["unstructured"], min_keep=0.25)
    _, masks = sparsify(scene_of(network, recipe), Given(worthless), 0.8)
    assert int(masks["hidden.weight"].sum()) == ceil(0.25 * 0.2 * 360)


@pytest.mark.parametrize("granularity", ["unstructured", "n:m", "block"])
def test_the_guard_never_stands_against_the_target(granularity: str) -> None:
    sparsity = 4 / 7 if granularity == "n:m" else 0.37
    _, masks = run(mixed(), sparsity, granularity=granularity, pattern="3:7", block=[3, 5], min_keep=1.0)
    assert zeros_of(masks) >= sparsity * total(masks)
    if granularity == "unstructured":
        assert all(abs(float((~mask).float().mean()) - sparsity) <= 7 / mask.numel() for mask in masks.values())


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "1:2", "4:8", "3:5"])
def test_every_window_of_inputs_fits_the_pattern(pattern: str) -> None:
    kept, of = (int(number) for number in pattern.split(":"))
    pruned, masks = run(mixed(), 1 - kept / of, granularity="n:m", pattern=pattern)
    for name, mask in masks.items():
        weight = weights_by_name(pruned)[name]
        rows = as_rows(weight != 0, *AXES[name])
        inputs = rows.shape[-1]
        assert inputs >= of
        assert torch.equal(rows, as_rows(mask, *AXES[name]))
        for start in range(0, inputs, of):
            assert rows[..., start : start + of].sum(-1).max() <= kept
        assert (rows.sum(-1) == inputs * kept // of).all()
    assert zeros_of(masks) >= (1 - kept / of) * total(masks)
    left = {name for name in WEIGHTS if name not in masks}
    assert left == {name for name in WEIGHTS if as_rows(weights_by_name(pruned)[name], *AXES[name]).shape[-1] < of}


def test_a_pattern_keeps_the_largest_of_each_window() -> None:
    network = traced(nn.Sequential(nn.Linear(8, 1)), 8)
    scores = {"0.weight": torch.tensor([[4.0, 3.0, 2.0, 1.0, 0.1, 0.3, 0.4, 0.2]])}
    recipe = Prune(granularity=["n:m"])
    _, masks = sparsify(scene_of(network, recipe), Given(scores), 0.5)
    assert masks["0.weight"].tolist() == [[True, True, False, False, False, True, True, False]]


def test_windows_of_a_convolution_run_over_its_input_channels() -> None:
    network = traced(nn.Sequential(nn.Conv2d(4, 1, 2)), 4, 3, 3)
    scores = torch.zeros(1, 4, 2, 2)
    scores[0, 1], scores[0, 3] = 1.0, 2.0
    _, masks = sparsify(scene_of(network, Prune(granularity=["n:m"])), Given({"0.weight": scores}), 0.5)
    assert masks["0.weight"][0, :, 0, 0].tolist() == [False, True, False, True]
    assert torch.equal(masks["0.weight"], scores > 0)


@pytest.mark.parametrize("block", [[1, 8], [4, 4], [3, 5], [16, 1], [256, 256]])
def test_tiles_are_zero_as_a_whole_and_overshoot_by_less_than_one(block: list[int]) -> None:
    sparsity = 0.5
    _, masks = run(mixed(), sparsity, granularity="block", block=block, min_keep=0.01)
    for name, mask in masks.items():
        rows = as_rows(mask, *AXES[name])
        for top in range(0, rows.shape[1], block[0]):
            for left in range(0, rows.shape[2], block[1]):
                tile = rows[:, top : top + block[0], left : left + block[1]].flatten(1)
                assert (tile.all(1) | ~tile.any(1)).all()
    overshoot = zeros_of(masks) - sparsity * total(masks)
    assert 0 <= overshoot < block[0] * block[1]


def test_a_tile_is_worth_the_mean_of_its_entries() -> None:
    network = traced(nn.Sequential(nn.Linear(5, 2)), 5)
    # The last tile of each row has one entry: by the sum it would look least important.
    scores = {"0.weight": torch.tensor([[1.0, 1.0, 1.0, 1.0, 3.0], [2.0, 2.0, 2.0, 2.0, 0.5]])}
    recipe = Prune(granularity=["block"], block=[1, 4], min_keep=0.01)
    _, masks = sparsify(scene_of(network, recipe), Given(scores), 0.5)
    assert masks["0.weight"].tolist() == [[False] * 4 + [True], [True] * 4 + [False]]


def test_steps_only_add_zeros_and_end_where_they_should() -> None:
    for granularity in ("unstructured", "n:m", "block"):
        network, masks, seen = mixed(), None, []
        for share in (0.25, 0.5, 0.75, 1.0):
            generator = torch.Generator().manual_seed(int(share * 4))
            recipe = Prune(granularity=[granularity], block=[2, 2])
            scores = {name: torch.rand(w.shape, generator=generator) for name, w in weights_by_name(network).items()}
            network, masks = sparsify(scene_of(network, recipe, masks=masks), Given(scores), 0.5, share)
            seen.append(masks)
        for earlier, later in pairwise(seen):
            assert all((later[name] <= earlier[name]).all() for name in later)
        shares = [zeros_of(step) / total(step) for step in seen]
        assert shares == sorted(shares)
        assert shares[0] <= 0.35
        assert 0.5 <= shares[-1] < 0.54


def test_masks_can_be_read_from_the_weights() -> None:
    pruned, masks = run(mixed(), 0.7)
    found = masks_of(pruned, masks)
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())


def test_rules_by_layer_win() -> None:
    rules = {
        "hidden": LayerRule(sparsity=0.95),
        "stem": LayerRule(granularity=["channel"]),
        "grouped": LayerRule(granularity=["n:m"]),
        "wide": LayerRule(min_keep=0.9),
    }
    _, masks = run(mixed(), 0.6, layers=rules, protect=["head"], min_keep=0.01)
    assert "stem.weight" not in masks
    assert "head.weight" not in masks
    assert int((~masks["hidden.weight"]).sum()) == 342  # 0.95 · 360
    assert int(masks["grouped.weight"].sum()) == 18 * 9 * 3  # 2:4 over 6 inputs keeps 3 of each row
    assert float(masks["wide.weight"].float().mean()) >= 0.9
    assert zeros_of(masks) == ceil(0.6 * total(masks))


def test_tables_of_embeddings_take_part_only_where_they_are_named() -> None:
    network = traced(_Tagger(), 6)
    _, masks = run(network, 0.5)
    assert set(masks) == {"head.weight"}
    _, masks = run(network, 0.5, layers={"table": LayerRule(granularity=["unstructured"])})
    assert set(masks) == {"table.weight", "head.weight"}


class _Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x.abs().long().clamp(max=8)).mean(1))


def test_equal_scores_are_spread_over_layers_and_within_them() -> None:
    network = mixed()
    scores = {name: torch.zeros_like(weight) for name, weight in weights_by_name(network).items()}
    _, masks = sparsify(scene_of(network, Prune(granularity=["unstructured"])), Given(scores), 0.5)
    for mask in masks.values():
        assert abs(float(mask.float().mean()) - 0.5) < 0.02
        halves = mask.flatten().float().tensor_split(2)
        assert abs(float(halves[0].mean() - halves[1].mean())) < 0.1


def test_what_cannot_be_reached_is_refused_with_the_limit() -> None:
    with pytest.raises(TargetUnreachable, match=r"0\.9 was asked and 0\.\d+ of the \d+ weights.*hidden"):
        run(mixed(), 0.9, layers={"grouped": LayerRule(min_keep=0.5)}, protect=["hidden"])
    with pytest.raises(NothingRemoved, match="the recipe protects it"):
        run(mixed(), 0.5, protect=["*"])


def test_scores_that_are_no_numbers_end_the_job_with_the_layer() -> None:
    broken = {"hidden.weight": torch.full((20, 18), torch.nan)}
    with pytest.raises(JobFailed, match="hidden: the criterion gives scores that are not numbers"):
        sparsify(scene_of(mixed(), Prune(granularity=["unstructured"])), Given(broken), 0.5)


@pytest.mark.parametrize(
    "criterion", ["random", "magnitude", "lamp", "taylor", "snip", "synflow", "wanda", "sparsegpt"]
)
@pytest.mark.parametrize("granularity", ["unstructured", "n:m", "block"])
def test_every_criterion_can_choose_every_granularity(criterion: str, granularity: str) -> None:
    network = mixed()
    samples = TensorSamples(example_inputs(network, 32)[0], torch.arange(32) % 5)
    recipe = Prune(granularity=[granularity], criterion=criterion, block=[2, 2])
    pruned, masks = sparsify(scene_of(network, recipe, samples), CRITERIA[criterion], 0.5)
    assert 0 <= zeros_of(masks) - 0.5 * total(masks) <= (0.06 * total(masks) if granularity == "n:m" else 4)
    for name, mask in masks.items():
        assert torch.equal(weights_by_name(pruned)[name] != 0, mask)


class Repairable(nn.Sequential):
    """Linear layers and convolutions of one group: the inputs of all can be laid out as columns."""

    def __init__(self) -> None:
        convolutions = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU()
        super().__init__(
            *convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 40), nn.ReLU(), nn.Linear(40, 5)
        )


def test_what_is_kept_makes_up_for_what_went() -> None:
    """SparseGPT under the mask of its own choice answers nearer to the dense network than the mask alone: less than 0.6
    of its error, in a network all of whose layers can be repaired."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = traced(Repairable(), 3, 6, 6)
    samples = TensorSamples(example_inputs(network, 256)[0], torch.arange(256) % 5)
    recipe = Prune(granularity=["unstructured"], criterion="sparsegpt", allocation="uniform")
    changed, masks = sparsify(scene_of(network, recipe, samples), CRITERIA["sparsegpt"], 0.5)
    only_masked, _ = sparsify(
        scene_of(network, recipe.model_copy(update={"criterion": "magnitude"}), samples),
        Given({name: mask.float() for name, mask in masks.items()}),
        0.5,
    )
    inputs = example_inputs(network, 64, seed=9)
    with torch.no_grad():
        dense, changed_answers, masked_answers = (n(*inputs)[0] for n in (network, changed, only_masked))
    assert (changed_answers - dense).square().mean() < 0.6 * (masked_answers - dense).square().mean()


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_rows_and_back(axes: tuple[int, int]) -> None:
    weight = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    rows = as_rows(weight, *axes)
    assert rows.shape == (20, weight.shape[axes[0]], weight.shape[axes[1]])
    assert torch.equal(from_rows(rows, weight.shape, *axes), weight)
