"""Groups: what can be removed, sorted by what it touches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.contract.recipe import Structured
from worker.graph.components import Components
from worker.graph.layers import Layer
from worker.graph.propagation import Propagation
from worker.graph.slots import SlotTable

__all__ = ["Group", "Member", "find_groups", "group_ids"]


@dataclass(frozen=True)
class Member:
    """An axis of a parameter that shrinks with a group, by `entries` for every channel of the group."""

    parameter: str
    axis: int | None
    entries: int


@dataclass(frozen=True)
class Group:
    """Components that touch the same axes in the same numbers: one is as good as another, only scores differ.

    A removable block is a group of its own, of one component and role `layer`; its `layers` are those that go with it.
    """

    id: str
    layers: tuple[str, ...]
    """Layers whose output channels these are."""
    components: npt.NDArray[np.int64]
    members: tuple[Member, ...]
    statistics: bool
    """Whether a mean or a variance runs over these channels, so that removing some changes what the others see."""
    role: Structured

    @property
    def channels(self) -> int:
        """Number of units that can be removed one by one."""
        return len(self.components)


def group_ids(count: int) -> list[str]:
    return [f"g{index + 1}" for index in range(count)]


def find_groups(
    kinds: list[npt.NDArray[np.int64]],
    roles: list[Structured],
    table: SlotTable,
    layers: tuple[Layer, ...],
    ledger: Propagation,
    components: Components,
) -> Iterator[Group]:
    """The groups of channels. `kinds` are their components."""
    summarised = np.zeros(components.count + 1, dtype=np.bool_)
    for labels in ledger.statistics:
        summarised[components.of[labels]] = True
    layer_at = {layer.slot: index for index, layer in enumerate(layers)}
    for name, members, role in zip(group_ids(len(kinds)), kinds, roles, strict=True):
        touched = {slot: count for slot, count in table.entries_of(members[0]).items() if slot < table.parameter_slots}
        makers = sorted(layer_at[slot] for slot in touched if slot in layer_at)
        yield Group(
            id=name,
            layers=tuple(layers[index].name for index in makers),
            components=members,
            members=tuple(
                Member(str(table.slots[slot].parameter), table.slots[slot].axis, count)
                for slot, count in touched.items()
            ),
            statistics=bool(summarised[members].any()),
            role=role,
        )
