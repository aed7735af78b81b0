"""What can be asked for, so that a platform can build a form: the answer of `GET /v1/methods`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.contract.recipe import Criterion, Recipe

__all__ = ["CRITERIA", "Catalogue", "CriterionInfo", "GateInfo", "methods"]


class Info(BaseModel):
    model_config = ConfigDict(frozen=True)


class CriterionInfo(Info):
    """`units` and `weights` say what it can score: whole channels, heads and neurons, or single weights."""

    name: Criterion
    summary: str
    formula: str
    source: str
    needs_data: bool = False
    needs_labels: bool = False
    needs_gradients: bool = False
    needs_training: bool = Field(False, description="Scores come from fine-tuning between the steps.")
    updates_weights: bool = Field(False, description="What is kept is changed to make up for what goes.")
    units: bool = True
    weights: bool = True
    balances: bool = Field(False, description="Knows `prune.balance`.")


class GateInfo(Info):
    id: str
    title: str
    needs: str


class FormatInfo(Info):
    name: str
    kind: str
    summary: str


class Catalogue(Info):
    """Everything a recipe may name. `recipe_schema` is a JSON Schema (2020-12)."""

    object: str = "methods"
    formats: list[FormatInfo]
    criteria: list[CriterionInfo]
    targets: list[str]
    schedules: list[str]
    gates: list[GateInfo]
    recipe_schema: dict[str, Any]


CRITERIA = (
    CriterionInfo(
        name="random",
        summary="Chance: the control every other criterion has to beat.",
        formula="U(0, 1)",
        source="Su et al., Sanity-Checking Pruning Methods, NeurIPS 2020",
    ),
    CriterionInfo(
        name="magnitude",
        summary="Norm of the weights; of a unit over all layers that share it.",
        formula="Σ|w|^p, relative to the layer",
        source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017",
    ),
    CriterionInfo(
        name="batchnorm",
        summary="Scale of the batch norm behind a channel.",
        formula="|γ|",
        source="Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017",
        weights=False,
    ),
    CriterionInfo(
        name="lamp",
        summary="Magnitude relative to what the layer would have left.",
        formula="w² ÷ Σ {v² : v² ≥ w²}",
        source="Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning, ICLR 2021",
    ),
    CriterionInfo(
        name="fpgm",
        summary="Distance to the other filters of the layer: those near the median are replaceable.",
        formula="Σ_j ‖f_i − f_j‖",
        source="He et al., Filter Pruning via Geometric Median, CVPR 2019",
        weights=False,
    ),
    CriterionInfo(
        name="taylor",
        summary="First-order change of the loss when the unit is removed, squared per sample.",
        formula="E[(Σ a · ∂L/∂a)²]",
        source="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019",
        needs_data=True,
        needs_gradients=True,
        balances=True,
    ),
    CriterionInfo(
        name="fisher",
        summary="Second-order change of the loss, with the diagonal Fisher information.",
        formula="½ w² E[(∂L/∂w)²]",
        source="Theis et al., Faster Gaze Prediction with Dense Networks and Fisher Pruning, 2018",
        needs_data=True,
        needs_gradients=True,
        balances=True,
    ),
    CriterionInfo(
        name="snip",
        summary="Change of the mean loss when the weight is turned down.",
        formula="|w · ∂L/∂w|",
        source="Lee et al., SNIP: Single-shot Network Pruning, ICLR 2019",
        needs_data=True,
        needs_gradients=True,
        balances=True,
    ),
    CriterionInfo(
        name="synflow",
        summary="Share of the paths through the network; for many exponential steps.",
        formula="w · ∂R/∂w, R = 1ᵀ Π|W| 1",
        source="Tanaka et al., Pruning neural networks without any data, NeurIPS 2020",
        needs_gradients=True,
    ),
    CriterionInfo(
        name="grasp",
        summary="What the norm of the gradient would lose; for networks before training.",
        formula="w · (H g)",
        source="Wang et al., Picking Winning Tickets Before Training, ICLR 2020",
        needs_data=True,
        needs_gradients=True,
    ),
    CriterionInfo(
        name="movement",
        summary="How far training between the steps moved the weight away from zero.",
        formula="−Σ_t w · ∂L/∂w",
        source="Sanh et al., Movement Pruning, NeurIPS 2020",
        needs_data=True,
        needs_gradients=True,
        needs_training=True,
    ),
    CriterionInfo(
        name="wanda",
        summary="Magnitude times the norm of the input.",
        formula="|w| · ‖x‖",
        source="Sun et al., A Simple and Effective Pruning Approach for Large Language Models, ICLR 2024",
        needs_data=True,
    ),
    CriterionInfo(
        name="sparsegpt",
        summary="Error of the layer's output when the other weights make up for it, which they then do.",
        formula="w² ÷ [H⁻¹]_qq, H = E[x xᵀ]",
        source="Frantar and Alistarh, SparseGPT, ICML 2023; units: Kurtic et al., ZipLM, NeurIPS 2023",
        needs_data=True,
        updates_weights=True,
    ),
    CriterionInfo(
        name="activation",
        summary="Norm of the unit's activation.",
        formula="E[Σ|a|^p]",
        source="Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR 2017",
        needs_data=True,
        weights=False,
    ),
)

GATES = (
    GateInfo(id="G0", title="Integrity of the comparison", needs="a dataset"),
    GateInfo(id="G1", title="Structure", needs="nothing"),
    GateInfo(id="G2", title="Overall accuracy", needs="labels"),
    GateInfo(id="G3", title="Accuracy of every class", needs="integer labels"),
    GateInfo(id="G4", title="Relative skew between classes", needs="integer labels"),
    GateInfo(id="G7", title="Calibration", needs="integer labels"),
)

FORMATS = (
    FormatInfo(
        name="pt2", kind="model", summary="torch.export archive; keeps batch norm, dropout and names. Preferred."
    ),
    FormatInfo(name="onnx", kind="model", summary="ONNX with inline weights, standard domain."),
    FormatInfo(
        name="npz", kind="dataset", summary="NumPy archive without pickled objects: x_train, y_train, x_test, y_test."
    ),
    FormatInfo(
        name="images", kind="dataset", summary="zip or tar of class/name.png, or train/class/… and test/class/…"
    ),
)


def methods() -> Catalogue:
    """The catalogue, derived from the contract so that it cannot go stale."""
    schema = Recipe.model_json_schema()
    schedule = schema["$defs"]["Schedule"]["properties"]["kind"]["enum"]
    return Catalogue(
        formats=list(FORMATS),
        criteria=list(CRITERIA),
        targets=list(schema["$defs"]["Target"]["properties"]),
        schedules=schedule,
        gates=list(GATES),
        recipe_schema=schema,
    )
