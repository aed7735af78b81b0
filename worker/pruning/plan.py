"""What was removed: plain data that outlives the process, and that rebuilds the pruned graph from the dense one."""

from pydantic import BaseModel, ConfigDict

from worker.errors import JobFailed
from worker.graph.network import Network
from worker.graph.shapes import example_inputs
from worker.graph.structure import Selection, Structure, analyze
from worker.graph.surgery import remove

__all__ = ["LayerPlan", "Plan", "PlanStep", "TargetPlan", "apply", "selection_of"]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanStep(_Plain):
    """One step. `removed` lists positions within each group of the dense network, by group id."""

    removed: dict[str, list[int]]
    macs: float
    params: float


class LayerPlan(_Plain):
    """What became of a layer. `kept` are the positions of its remaining output channels in the dense layer; `gone` says
    that it went with its block, and then all that is kept is 0."""

    name: str
    op: str
    groups: list[str]
    channels: int
    channels_kept: int
    kept: list[int]
    requested_keep: float | None
    params: int
    params_kept: int
    macs: int
    macs_kept: int
    gone: bool = False


class TargetPlan(_Plain):
    """A target, in the unit of the recipe: what was asked, what is reached (of times what was measured while searching;
    the report has the shipped file's) and how far the rules of the recipe let it go."""

    name: str
    asked: float
    reached: float
    limit: float


class Plan(_Plain):
    """A prune, finished when `complete`. Costs are absolute; ratios are pruned ÷ dense."""

    steps: list[PlanStep]
    complete: bool
    requested_macs: float | None
    requested_params: float | None
    dense_macs: float
    dense_params: float
    macs: float
    params: float
    layers: list[LayerPlan]
    targets: list[TargetPlan] = []

    @property
    def macs_ratio(self) -> float:
        return self.macs / self.dense_macs

    @property
    def params_ratio(self) -> float:
        return self.params / self.dense_params


def selection_of(structure: Structure, plan: Plan) -> Selection:
    """What the plan keeps of the dense network. Raises JobFailed when the plan was made for another network."""
    selection = structure.everything()
    groups = {group.id: group for group in structure.groups}
    for step in plan.steps:
        for name, positions in step.removed.items():
            group = groups.get(name)
            if group is None or max(positions, default=0) >= group.channels:
                raise JobFailed(f"the plan removes channels of group {name}, which this model does not have")
            selection[group.components[positions]] = False
    return selection


def apply(network: Network, plan: Plan) -> Network:
    """The pruned graph with the weights of the dense `network`. Raises JobFailed when the plan does not fit it."""
    structure = analyze(network, example_inputs(network))
    return remove(network, structure, selection_of(structure, plan))
