"""Removable blocks as a client sees them: with a name, a component and their layers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from worker.graph.blocks import Bypass
from worker.graph.groups import Group
from worker.graph.layers import Layer
from worker.graph.liveness import Liveness

__all__ = ["Residual", "find_residuals", "group_of_block"]


@dataclass(frozen=True)
class Residual:
    """A block that can be left out: node `add` computes `skip + branch`, and without the block it is `skip`.

    `component` is its number in a selection; it is the only one of a group of role `layer`. `layers` go with it,
    whatever else is kept, and so do `parameters`, which names buffers too.
    """

    component: int
    name: str
    add: str
    skip: str
    branch: str
    layers: tuple[str, ...]
    parameters: tuple[str, ...]


def find_residuals(
    bypasses: Sequence[Bypass], first: int, layers: tuple[Layer, ...], liveness: Liveness
) -> tuple[Residual, ...]:
    """One for each bypass, in their order, numbered from component `first` on."""
    own: list[list[str]] = [[] for _ in bypasses]
    for name, needs in liveness.parameters.items():
        for block in frozenset.intersection(*needs):
            own[block].append(name)
    made: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        made.setdefault(layer.weight, []).append(index)

    def among(parameters: Iterable[str]) -> list[str]:
        return [layers[index].name for index in sorted(index for name in parameters for index in made.get(name, ()))]

    names = _names([among(_read(bypass)) for bypass in bypasses])
    shared = Counter(names)
    return tuple(
        Residual(
            component=first + block,
            name=name if shared[name] == 1 else f"{name} ({bypass.add.name})",
            add=bypass.add.name,
            skip=bypass.skip.name,
            branch=bypass.branch.name,
            layers=tuple(among(own[block])),
            parameters=tuple(own[block]),
        )
        for block, (bypass, name) in enumerate(zip(bypasses, names, strict=True))
    )


def group_of_block(index: int, block: Residual) -> Group:
    """The group that stands for the block."""
    component = np.array([block.component], dtype=np.int64)
    return Group(f"b{index + 1}", block.layers, component, members=(), statistics=False, role="layer")


def _read(bypass: Bypass) -> set[str]:
    """Parameters that the branch reads, also those that others read too."""
    sources = (source for node in bypass.private for source in node.all_input_nodes)
    return {str(source.target) for source in sources if source.op == "get_attr"}


def _names(inner: list[list[str]]) -> list[str]:
    """The path that the names of a block's layers have in common (`stages.1.0`). Where they have none, or where other
    blocks lie on it that are not inside of this one, its first and last layer."""
    paths = [_common_path(layers) for layers in inner]
    below: dict[str, set[str]] = {}  # the layers of all blocks at a path or under it
    for path, layers in zip(paths, inner, strict=True):
        for above in accumulate(path.split("."), "{}.{}".format):
            below.setdefault(above, set()).update(layers)
    names = []
    for path, layers in zip(paths, inner, strict=True):
        if path and below[path] <= set(layers):
            names.append(path)
        else:
            names.append(" … ".join(dict.fromkeys((layers[0], layers[-1]))) if layers else "products")
    return names


def _common_path(names: Sequence[str]) -> str:
    """`a.b` of `a.b.c` and `a.b.d.e`; of a single name all of it."""
    if len(names) == 1:
        return names[0]
    path = []
    for parts in zip(*(name.split(".") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        path.append(parts[0])
    return ".".join(path)
