"""What of a model can be pruned, and how far: parts of its profile."""

from pydantic import BaseModel, ConfigDict, Field

from service.contract.recipe import Sparse, Structured

__all__ = [
    "BlockedOp",
    "GranularityReach",
    "LayerInfo",
    "Prunable",
    "PrunableBlock",
    "PrunableGroup",
    "Reach",
    "SparseReach",
]


class Part(BaseModel):
    """An answer. Clients ignore fields they do not know, so fields may be added."""

    model_config = ConfigDict(frozen=True)


class LayerInfo(Part):
    name: str
    op: str
    shape: list[int] = Field(description="Shape of the weight.")
    parameters: int
    macs: int
    prunable: int = Field(description="Output channels that may be removed.")


class BlockedOp(Part):
    """An op without a rule: what it touches stays as it is."""

    op: str
    layers: list[str]
    why: str


class PrunableGroup(Part):
    """Channels of several layers that can only go together, counted once."""

    id: str
    layers: list[str] = Field(description="Layers whose output channels these are.")
    channels: int
    role: Structured = Field("channel", description="What kind of unit each is: which `granularity` removes them.")


class PrunableBlock(Part):
    """A block with a skip connection around it, which `granularity: layer` can remove as a whole."""

    id: str
    name: str = Field(description="The path its layers have in common, or its first and last layer.")
    layers: list[str] = Field(description="Layers that go with it.")
    macs: int = Field(description="What its removal alone saves.")
    params: int


class Reach(Part):
    """Cost that is left when every group keeps `keep` of its channels, in the default blocks of eight."""

    keep: float
    macs: float
    params: float
    size_bytes: int | None = Field(None, description="Of `model.onnx`, estimated.")
    memory_bytes: int | None = Field(None, description="Largest sum of activations alive at one time, one sample.")


class GranularityReach(Part):
    """How far some granularities get together, with the defaults of everything else."""

    granularity: list[Structured]
    units: int = Field(description="What can be removed one by one: channels, heads, neurons, blocks.")
    reach: list[Reach] = Field(description="From most to least; the last point, of `keep` 0, is the least.")


class SparseReach(Part):
    """How far zeros get, with the defaults of everything else."""

    granularity: Sparse
    layers: int = Field(description="Layers whose weights may become zero.")
    weights: int = Field(description="Their weights: what `target.sparsity` is a share of.")
    most: float = Field(description="Largest share that may be zero; of `n:m` the share that it makes zero.")


class Prunable(Part):
    components: int = Field(description="Sets of weights that can be removed one by one.")
    groups: list[PrunableGroup]
    reach: list[Reach] = Field(description="Fractions of the dense cost, from most to least.")
    min_macs: float = Field(description="Smallest reachable fraction of MACs with the default recipe.")
    min_params: float
    blocks: list[PrunableBlock] = []
    by_granularity: list[GranularityReach] = Field(
        [], description="One for every set of granularities that this model has units of."
    )
    sparse: list[SparseReach] = []
