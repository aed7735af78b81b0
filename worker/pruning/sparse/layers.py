"""Which weights may become zero, in what pieces, and how many of them at most."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil

from service.contract.recipe import SPARSE, LayerRule, Prune, Sparse
from worker.graph.network import Network
from worker.graph.structure import Layer, Structure
from worker.pruning.sparse.patterns import kept_by_pattern

__all__ = ["LeftDense", "SparseLayer", "at_least", "sparse_layers"]

_NOT_NAMED = "the recipe names no granularity of single weights for it"


@dataclass(frozen=True)
class SparseLayer:
    """A layer whose weight takes part. A rule of the recipe asks that at least the share `keep` of its entries stays,
    or that exactly the share `sparsity` goes; `guard` is the share that stays of every layer, up to rounding. `kind`
    tells layers that do the same from others."""

    name: str
    weight: str
    kind: str
    output_axis: int
    input_axis: int
    granularity: Sparse
    keep: float
    guard: float
    sparsity: float | None


@dataclass(frozen=True)
class LeftDense:
    """A layer that does not take part, and why."""

    name: str
    weight: str
    why: str


def sparse_layers(
    structure: Structure, network: Network, prune: Prune, sparsity: float
) -> tuple[tuple[SparseLayer, ...], tuple[LeftDense, ...]]:
    """The layers whose weights are eligible under a resolved recipe, and the others, both in the order of the network.

    Eligible is every weight of at least two axes that the recipe does not protect. Tables of embeddings are looked up
    and not multiplied: they take part only where a rule in `prune.layers` names a granularity for them. A pattern n:m
    needs m inputs.

    Every layer keeps at least `prune.min_keep` of what an even share of `sparsity` would leave it, so that the guard
    against collapse never stands against the target; `min_keep` of a rule is a share of the weights themselves.
    """
    parameters = dict(network.parameters())
    taken, left = list[SparseLayer](), list[LeftDense]()
    for layer in structure.layers:
        if layer.weight not in parameters:
            continue  # removed as a whole
        rules = [rule for pattern, rule in prune.layers.items() if fnmatchcase(layer.name, pattern)]
        shape = tuple(parameters[layer.weight].shape)
        granularity, named = _granularity(prune, rules)
        keep, exact = _bounds(layer, prune, rules)
        why = _why_dense(layer, shape, granularity, keep, prune, named=named)
        if granularity is None or why is not None:
            left.append(LeftDense(layer.name, layer.weight, why or _NOT_NAMED))
            continue
        taken.append(
            SparseLayer(
                name=layer.name,
                weight=layer.weight,
                kind=_kind(layer, shape),
                output_axis=layer.output_axis,
                input_axis=_input_axis(layer),
                granularity=granularity,
                keep=keep,
                guard=prune.min_keep * (1 - sparsity),
                sparsity=exact,
            )
        )
    return tuple(taken), tuple(left)


def at_least(share: float, count: int) -> int:
    """The smallest whole number that is no smaller share of `count`; 0.1 of 30 is 3 in spite of binary fractions."""
    return ceil(share * count - 1e-9)


def _why_dense(
    layer: Layer, shape: tuple[int, ...], granularity: Sparse | None, keep: float, prune: Prune, *, named: bool
) -> str | None:
    if len(shape) < 2:
        return "its weight has one axis"
    if layer.op == "embedding" and not named:
        return "it is a table of embeddings; name a granularity for it in prune.layers"
    if keep >= 1.0:
        return "the recipe protects it"
    if granularity == "n:m":
        (kept, of), inputs = prune.n_m, shape[_input_axis(layer)]
        if inputs < of:
            return f"it has {inputs} inputs and the pattern {prune.pattern} needs {of}"
        if kept_by_pattern(inputs, kept, of) < at_least(keep, inputs):
            return f"it has to keep {keep:g} of its weights and the pattern {prune.pattern} keeps fewer"
    return None


def _input_axis(layer: Layer) -> int:
    return 0 if layer.output_axis else 1


def _kind(layer: Layer, shape: tuple[int, ...]) -> str:
    """What a layer does, without its width: `conv2d 3x3`."""
    inputs = _input_axis(layer)
    kernel = "x".join(str(size) for axis, size in enumerate(shape) if axis not in (layer.output_axis, inputs))
    return f"{layer.op} {kernel}{' depthwise' if kernel and shape[inputs] == 1 else ''}"


def _granularity(prune: Prune, rules: list[LayerRule]) -> tuple[Sparse | None, bool]:
    """(granularity, whether a rule for this layer names it); the last rule that says something wins."""
    named = [rule.granularity for rule in rules if rule.granularity is not None]
    asked = named[-1] if named else list(prune.sparse)
    return next((name for name in SPARSE if name in asked), None), bool(named)


def _bounds(layer: Layer, prune: Prune, rules: list[LayerRule]) -> tuple[float, float | None]:
    """(least share kept, exact sparsity) by the rules for the layer."""
    if any(fnmatchcase(layer.name, pattern) for pattern in prune.protect):
        return 1.0, None
    exact = [rule.sparsity for rule in rules if rule.sparsity is not None]
    least = [rule.min_keep for rule in rules if rule.min_keep is not None]
    return least[-1] if least else 0.0, exact[-1] if exact else None
