"""What can be asked for, so that a platform can build a form: the answer of `GET /v1/methods`."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from service.contract.recipe import Recipe

__all__ = ["CRITERIA", "Catalogue", "CriterionInfo", "GateInfo", "methods"]


class Info(BaseModel):
    model_config = ConfigDict(frozen=True)


class CriterionInfo(Info):
    name: str
    summary: str
    source: str
    needs_data: bool


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
        name="magnitude",
        summary="Norm of a channel's weights, over all layers that share it.",
        source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017",
        needs_data=False,
    ),
    CriterionInfo(
        name="taylor",
        summary="First-order change of the loss when the channel is removed.",
        source="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019",
        needs_data=True,
    ),
    CriterionInfo(
        name="batchnorm",
        summary="Magnitude of the channel's batch norm scale.",
        source="Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017",
        needs_data=False,
    ),
    CriterionInfo(
        name="random",
        summary="Chance: the control every other criterion has to beat.",
        source="Su et al., Sanity-Checking Pruning Methods, NeurIPS 2020",
        needs_data=False,
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
