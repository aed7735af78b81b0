"""What lives only for blocks that can be left out: which of them a node or a parameter needs in order to be read."""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt
from torch import fx

__all__ = ["ALWAYS", "Liveness", "Needs", "factors_of", "find_liveness"]

Needs = frozenset[frozenset[int]]
"""Sets of blocks (by number), of which one has to be there in full for a node to be read by anything."""

Edge = tuple[fx.Node, fx.Node]

ALWAYS: Needs = frozenset({frozenset()})

# A graph in which nodes live for more combinations than this gets no removable blocks.
_MOST_COMBINATIONS = 256
# Every choice doubles the number of terms of what it decides.
_MOST_CHOICES = 4


@dataclass(frozen=True)
class Liveness:
    """What nodes and parameters need in order to be read by anything, by name. Those that always are, are absent."""

    nodes: dict[str, Needs]
    parameters: dict[str, Needs]

    def keeps_node(self, name: str, kept: npt.NDArray[np.bool_]) -> bool:
        """Whether the node is there when the blocks `kept`, (blocks,), are."""
        return _met(self.nodes.get(name, ALWAYS), kept)

    def keeps_parameter(self, name: str, kept: npt.NDArray[np.bool_]) -> bool:
        return _met(self.parameters.get(name, ALWAYS), kept)


def _met(needs: Needs, kept: npt.NDArray[np.bool_]) -> bool:
    return any(all(kept[block] for block in together) for together in needs)


def find_liveness(graph: fx.Graph, blocks: list[Edge]) -> Liveness | None:
    """What every node needs to be read; None where that takes too many combinations of blocks.

    `blocks` are (branch, sum) for each block, by number: what leads to the sum that way needs the block.
    """
    edges = {edge: block for block, edge in enumerate(blocks)}
    needs: dict[fx.Node, Needs] = {}
    for node in reversed(graph.nodes):
        if node.op == "output" or not node.users:
            needs[node] = ALWAYS
            continue
        ways: set[frozenset[int]] = set()
        for user in node.users:
            block = edges.get((node, user))
            ways |= needs[user] if block is None else {together | {block} for together in needs[user]}
        needs[node] = _shortest(ways)
        if len(needs[node]) > _MOST_COMBINATIONS:
            return None
    parameters: dict[str, set[frozenset[int]]] = {}
    for node in graph.find_nodes(op="get_attr"):
        parameters.setdefault(str(node.target), set()).update(needs[node])
    return Liveness(
        {node.name: ways for node, ways in needs.items() if ways != ALWAYS and node.op != "placeholder"},
        {name: shortest for name, ways in parameters.items() if (shortest := _shortest(ways)) != ALWAYS},
    )


def _shortest(ways: set[frozenset[int]]) -> Needs:
    """Without those that contain another."""
    if frozenset() in ways:
        return ALWAYS
    return frozenset(way for way in ways if not any(other < way for other in ways))


@lru_cache(maxsize=4096)
def factors_of(needs: Needs) -> tuple[frozenset[int], ...] | None:
    """Groups of blocks, apart from each other, of each of which one is needed, whichever. None where the needs are no
    such expression.

    Blocks that are never needed together are the choices of one group.
    """
    beside: dict[int, set[int]] = {}
    for way in needs:
        for block in way:
            beside.setdefault(block, set()).update(way - {block})
    choices = {block: frozenset(beside) - others for block, others in beside.items()}
    groups = sorted(set(choices.values()), key=min)
    apart = sum(map(len, groups)) == len(beside)
    complete = len(needs) == prod(map(len, groups)) and all(len(way) == len(groups) for way in needs)
    few = sum(len(group) > 1 for group in groups) <= _MOST_CHOICES
    return tuple(groups) if apart and complete and few else None
