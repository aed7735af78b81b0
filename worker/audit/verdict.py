"""From gates to one verdict, and what was left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from service.contract.report import Gate, NotAssessed
from service.contract.resources import Verdict
from worker.data.batches import Task

__all__ = ["Judgement", "Tier", "judge", "not_assessed", "not_run_gates"]

Tier = Literal[0, 1, 2]
TIER_NAMES: dict[Tier, str] = {0: "structure only", 1: "unlabelled data", 2: "labelled data"}


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    reasons: list[str]


def judge(gates: Sequence[Gate], tier: Tier) -> Judgement:
    """The worst of the required gates, in the order FAIL, INCONCLUSIVE, PASS. Without evidence there is no PASS."""
    required = [gate for gate in gates if gate.required]
    failed = [gate for gate in required if gate.status == "FAIL"]
    open_ = [gate for gate in required if gate.status == "INCONCLUSIVE"]
    missing = [gate for gate in required if gate.status == "NOT_RUN"]
    reasons = [f"{gate.id} {gate.title}: {gate.reason}" for gate in failed + open_]
    if failed:
        return Judgement("FAIL", reasons)
    if tier == 0:
        return Judgement(
            "INCONCLUSIVE", [*reasons, "Nothing about behaviour could be assessed: no data. Tier 0 evidence only."]
        )
    if tier == 1:
        return Judgement("INCONCLUSIVE", [*reasons, "Bias could not be assessed: no labels. Tier 1 evidence only."])
    if open_ or missing:
        return Judgement("INCONCLUSIVE", reasons + [f"{gate.id} {gate.title}: {gate.reason}" for gate in missing])
    return Judgement("PASS", [f"{gate.id} {gate.title}: {gate.reason}" for gate in required if gate.id != "G0"])


def not_run_gates(task: Task, tier: Tier) -> list[Gate]:
    """The gates that this run has no evidence for, each with the reason."""
    gates = []
    lacking = "No labelled samples in the confirm split." if tier else "No data."
    if tier < 2:
        gates += [
            Gate(id="G2", title="Overall accuracy", status="NOT_RUN", reason=lacking),
            Gate(id="G3", title="Every class on its own", status="NOT_RUN", reason=lacking),
            Gate(id="G4", title="Each class against the others", status="NOT_RUN", reason=lacking),
            Gate(id="G7", title="Calibration", status="NOT_RUN", reason=lacking, required=False),
        ]
    elif task == "regression":
        gates += [
            Gate(id=id_, title=title, status="NOT_RUN", reason="Regression has no classes.", required=False)
            for id_, title in (
                ("G3", "Every class on its own"),
                ("G4", "Each class against the others"),
                ("G7", "Calibration"),
            )
        ]
    gates += [
        Gate(id=row.gate, title=row.title, status="NOT_RUN", reason=row.why, required=False) for row in _BEYOND_THIS_RUN
    ]
    return gates


def not_assessed(task: Task, tier: Tier) -> list[NotAssessed]:
    """The questions that stay open after this run, whatever its verdict."""
    rows = []
    if tier == 0:
        rows.append(
            NotAssessed(
                what="Loss of information",
                why="The job had no dataset, so no answer of the pruned network was compared with the dense one's.",
                needs="A dataset; unlabelled samples are enough for agreement.",
            )
        )
    if tier < 2:
        rows.append(
            NotAssessed(
                what="Accuracy and bias between classes",
                why="There were no labels to be right or wrong about.",
                needs="Labels: 150 to 300 samples per class decide about a loss of 5 points.",
            )
        )
    elif task == "regression":
        rows.append(
            NotAssessed(
                what="Bias between kinds of samples",
                why="Regression has no classes, and no groups were compared.",
                needs="Classes or groups of samples.",
            )
        )
    return rows + [NotAssessed(what=row.what, why=row.why, needs=row.needs) for row in _BEYOND_THIS_RUN]


@dataclass(frozen=True)
class _Open:
    gate: str
    title: str
    what: str
    why: str
    needs: str


_BEYOND_THIS_RUN = (
    _Open(
        gate="G5",
        title="Groups of people or conditions",
        what="Fairness between groups",
        why="Groups of samples are not compared by this version.",
        needs="A `groups` array in the dataset, and a version that compares groups.",
    ),
    _Open(
        gate="G6",
        title="Changed answers against the noise floor",
        what="Whether the changed answers are more than noise",
        why="One run has no noise floor to compare its disagreement with; disagreement is reported, not judged.",
        needs="Replicates: the same job with several seeds, compared with each other.",
    ),
    _Open(
        gate="G8",
        title="Robustness",
        what="Robustness to noise, corruption and shifted data",
        why="Only samples like those of the dataset were answered.",
        needs="Corrupted or shifted samples with labels, audited as a dataset of their own.",
    ),
    _Open(
        gate="G9",
        title="Stability over seeds",
        what="Whether another seed would have lost the same classes",
        why="One seed was run: the verdict is about this file, not about the method.",
        needs="At least 5 replicates of the job with different seeds, better 10.",
    ),
)
