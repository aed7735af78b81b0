"""Removable blocks: the branches of residual adds, and what of the graph lives only for them.

`x + f(x)` without its branch is `x`. Where the branch is used for nothing else, it can go as a whole, and with it all
that only it reads: depth pruning is one more thing that a selection can leave out.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import fx

from worker.graph.liveness import ALWAYS, Liveness, factors_of, find_liveness
from worker.graph.shapes import Recorded

__all__ = ["Bypass", "Skip", "find_bypasses", "skip_adds"]

aten = torch.ops.aten

Skip = tuple[fx.Node, fx.Node, fx.Node]
"""(add, skip, branch): `add` computes `skip + branch`."""

_INPUT, _TENSOR, _FIRST_BIT = 1, 2, 2
# What each node depends on is held in as many bits; far more than any network has.
_MOST_SUMS = 4096

_LAYOUT = frozenset(
    f"aten.{name}"
    for name in (
        *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose"),
        *("t", "movedim", "swapaxes", "swapdims", "contiguous", "clone", "alias", "detach", "to", "dropout"),
    )
)
"""Ops that leave every entry as it is, and only put it elsewhere."""


@dataclass(frozen=True)
class Bypass:
    """`add` computes `skip + branch`, and `branch` depends on what `skip` holds and is read by `add` alone."""

    add: fx.Node
    skip: fx.Node
    branch: fx.Node
    private: frozenset[fx.Node]
    """Nodes that are read only on the way to `branch`, with `branch`."""


def skip_adds(graph: fx.Graph, recorded: Mapping[str, Recorded]) -> list[Skip]:
    """(add, skip, branch) of every sum of two tensors of one shape, of which the branch depends on what the skip holds,
    in graph order. A skip may rearrange what it holds (`permute`). It is never an input of the network as it came, and
    never the same for every input."""
    sums = [(node, skip, branch) for node in graph.nodes for skip, branch in _operands(node, recorded)]
    if len(sums) > _MOST_SUMS:
        return []
    bits = {origin: bit for bit, origin in enumerate({_origin(skip): None for _, skip, _ in sums}, _FIRST_BIT)}
    above: dict[fx.Node, int] = {}  # bits of the origins that a node depends on, and whether of an input and a tensor
    for node in graph.nodes:
        reach = (
            (node.op == "placeholder") * _INPUT
            | (node.op == "get_attr") * _TENSOR
            | (node in bits) << bits.get(node, 0)
        )
        for source in node.all_input_nodes:
            reach |= above[source]
        above[node] = reach
    return [
        (add, skip, branch)
        for add, skip, branch in sums
        if above[branch] >> bits[_origin(skip)] & 1 and above[skip] & _INPUT and above[skip] & _TENSOR
    ]


def _operands(node: fx.Node, recorded: Mapping[str, Recorded]) -> Iterable[tuple[fx.Node, fx.Node]]:
    """Both ways to read a sum as (skip, branch); a factor on the second operand belongs to a branch."""
    if node.target is not aten.add.Tensor or len(node.args) < 2:
        return
    first, second = node.args[:2]
    if not isinstance(first, fx.Node) or not isinstance(second, fx.Node) or first is second:
        return
    if not recorded[first.name] == recorded[second.name] == recorded[node.name]:
        return
    yield first, second
    if node.kwargs.get("alpha", 1) == 1:
        yield second, first


def _origin(node: fx.Node) -> fx.Node:
    """Where the entries of `node` were made, before they were rearranged."""
    while str(node.target).rpartition(".")[0] in _LAYOUT and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def find_bypasses(graph: fx.Graph, skips: list[Skip], costly: Collection[str]) -> tuple[list[Bypass], Liveness]:
    """Branches that can be left out, in graph order, and what lives only for them. Blocks are numbered from 0.

    A branch is one if nothing but the sum reads it, if it holds a node of `costly` (names of nodes with
    multiply-accumulates) that nothing else reads, and if it starts from what the skip holds: no costly node lies
    between. A bias that is added to attention scores is no skip, though every score but the first depends on it.

    A block is left off where `factors_of` knows no expression for what something costs (a layer that is shared by
    blocks inside of blocks).
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    bypasses = []
    for add, skip, branch in skips:
        if list(branch.users) == [add]:
            private = _private(branch, position)
            if any(node.name in costly for node in private) and _starts_at(private, _origin(skip), position, costly):
                bypasses.append(Bypass(add, skip, branch, private))
    while True:
        liveness = find_liveness(graph, [(bypass.branch, bypass.add) for bypass in bypasses])
        if liveness is None:
            return [], Liveness({}, {})
        tangled = _tangled(liveness, costly)
        if not tangled:
            return bypasses, liveness
        inner = min(tangled, key=lambda block: len(bypasses[block].private))
        del bypasses[inner]


def _private(branch: fx.Node, position: Mapping[fx.Node, int]) -> frozenset[fx.Node]:
    """`branch` and the nodes above it all of whose users are among them."""
    inside: set[fx.Node] = {branch}
    seen: set[fx.Node] = set()
    pending: list[tuple[int, fx.Node]] = []

    def push(nodes: Iterable[fx.Node]) -> None:
        for node in nodes:
            if node not in seen:
                seen.add(node)
                heapq.heappush(pending, (-position[node], node))

    push(branch.all_input_nodes)
    while pending:
        # Last in the graph first: the users of a node are decided before it.
        _, node = heapq.heappop(pending)
        if node.op != "placeholder" and all(user in inside for user in node.users):
            inside.add(node)
            push(node.all_input_nodes)
    return frozenset(inside)


def _starts_at(
    private: frozenset[fx.Node], origin: fx.Node, position: Mapping[fx.Node, int], costly: Collection[str]
) -> bool:
    """Whether what enters the private nodes comes from `origin` without passing another costly node."""
    pending = [source for node in private for source in node.all_input_nodes if source not in private]
    seen: set[fx.Node] = set()
    while pending:
        node = pending.pop()
        if node is origin:
            return True
        if node not in seen and position[node] > position[origin] and node.name not in costly:
            seen.add(node)
            pending += node.all_input_nodes
    return False


def _tangled(liveness: Liveness, costly: Collection[str]) -> set[int]:
    """Blocks that stand in the way of an expression."""
    found: set[int] = set()
    for needs in (*(liveness.nodes.get(name, ALWAYS) for name in costly), *liveness.parameters.values()):
        if factors_of(needs) is None:
            found |= frozenset.union(*needs) - frozenset.intersection(*needs)
    return found
