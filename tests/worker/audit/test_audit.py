import math
from dataclasses import replace

import numpy as np
import pytest

from service.contract.recipe import Recipe
from service.contract.report import Gate, SplitInfo
from tests.worker.audit.synthetic import NAMES, audit_of, inputs, labels_of, predict, splits, structure, wrong_share
from worker.audit.arms import Arms
from worker.audit.audit import AuditInputs, Evidence, audit
from worker.data.predictions import Predictions


def gate(evidence: Evidence, id_: str) -> Gate:
    return next(gate for gate in evidence.gates if gate.id == id_)


def itself(n: int, classes: int = 4) -> AuditInputs:
    labels = labels_of([n] * classes)
    dense = predict(wrong_share(labels, 0.1, classes, 1), labels, classes, 2)
    return inputs(Arms(dense, dense, dense), class_names=None)


def without_labels(given: AuditInputs) -> AuditInputs:
    assert given.confirm is not None
    arms = [replace(arm, labels=None) for arm in (given.confirm.dense, given.confirm.twin, given.confirm.pruned)]
    return replace(given, confirm=Arms(*arms), task="unlabelled")


def test_a_model_against_itself_passes_with_p_of_one_everywhere() -> None:
    evidence = audit(itself(400))
    assert evidence.verdict == "PASS", evidence.verdict_reasons
    assert evidence.vs_twin is not None
    assert evidence.vs_twin.disagreement == 0
    assert evidence.vs_twin.negative_flips == evidence.vs_twin.positive_flips == 0
    assert all(row.mcnemar.p_holm == row.relative_test.p_holm == 1.0 for row in evidence.vs_twin.classes)
    assert not any(math.isnan(row.relative.est) for row in evidence.vs_twin.classes)
    assert evidence.exemplars == []


def test_a_planted_skew_names_that_class_and_no_other() -> None:
    lost = [0.01] * 10
    lost[3] = 0.2
    evidence = audit(audit_of([200] * 10, lost))
    assert evidence.verdict == "FAIL"
    assert evidence.vs_twin is not None
    assert [row.name for row in evidence.vs_twin.classes if row.status == "FAIL"] == ["cat"]
    assert [row.name for row in evidence.vs_twin.classes if row.relative_status == "FAIL"] == ["cat"]
    said = " ".join(evidence.verdict_reasons)
    assert "Class 3 (cat): recall" in said
    assert "Holm p" in said
    assert not any(f"({name})" in said for name in NAMES if name != "cat")


def test_what_the_treatment_did_to_the_twin_is_not_blamed_on_pruning() -> None:
    given = audit_of([300] * 10, [0.005] * 10, gained=0.005)
    assert given.confirm is not None
    labels = labels_of([300] * 10)
    shifted = predict(wrong_share(labels, 0.3, 10, 99), labels, 10, 5)
    evidence = audit(replace(given, confirm=Arms(shifted, given.confirm.twin, given.confirm.pruned)))
    assert evidence.verdict == "PASS", evidence.verdict_reasons
    assert evidence.vs_original is not None
    assert evidence.vs_twin is not None
    assert evidence.vs_original.disagreement is not None
    assert evidence.vs_twin.disagreement is not None
    assert evidence.vs_original.disagreement > 10 > evidence.vs_twin.disagreement


def test_twelve_samples_are_too_few_and_the_report_says_how_many_would_do() -> None:
    evidence = audit(audit_of([500] * 9 + [12], [0.005] * 10))
    assert evidence.verdict == "INCONCLUSIVE"
    assert evidence.vs_twin is not None
    truck = evidence.vs_twin.classes[9]
    assert truck.status == "INCONCLUSIVE"
    assert "12 samples" in truck.message
    assert "too few to judge" in truck.message
    assert "only a loss of about 83 points would be detected" in truck.message
    assert truck.power.samples_for_margin >= 59
    assert "class 9 (truck) has 12 samples and needs about" in " ".join(evidence.verdict_reasons).lower()
    assert "class 9 (truck)" in " ".join(evidence.suggestions)


def test_no_harm_seen_is_not_a_pass_when_too_few_samples_were_looked_at() -> None:
    assert audit(itself(40)).verdict == "INCONCLUSIVE"


def test_fifty_eight_samples_per_class_never_pass_and_fifty_nine_may() -> None:
    rows = {n: audit(itself(n, classes=8)).vs_twin for n in (58, 59)}
    assert {n: {row.status for row in twin.classes} for n, twin in rows.items() if twin} == {
        58: {"INCONCLUSIVE"},
        59: {"PASS"},
    }


def test_a_class_without_samples_is_inconclusive() -> None:
    evidence = audit(audit_of([400, 400, 0], [0.0] * 3, gained=0.0))
    assert evidence.verdict == "INCONCLUSIVE"
    assert evidence.vs_twin is not None
    assert evidence.vs_twin.classes[2].recall is None
    assert "no samples" in evidence.vs_twin.classes[2].message


def test_without_labels_bias_is_not_assessed_and_nothing_passes() -> None:
    evidence = audit(without_labels(audit_of([200] * 10, [0.1] * 10)))
    assert evidence.verdict == "INCONCLUSIVE"
    assert evidence.evidence_tier == 1
    assert evidence.verdict_reasons == ["Bias could not be assessed: no labels. Tier 1 evidence only."]
    assert {gate(evidence, id_).status for id_ in ("G2", "G3", "G4", "G7")} == {"NOT_RUN"}
    assert evidence.vs_twin is not None
    assert evidence.vs_twin.disagreement
    assert evidence.vs_twin.accuracy is None
    assert evidence.vs_twin.classes == []
    assert evidence.exemplars[0].label is None


def test_without_data_only_the_structure_is_judged() -> None:
    evidence = audit(inputs(None))
    assert evidence.verdict == "INCONCLUSIVE"
    assert evidence.evidence_tier == 0
    assert "no data" in evidence.verdict_reasons[0]
    assert gate(evidence, "G0").status == "NOT_RUN"
    assert gate(evidence, "G1").status == "PASS"
    assert evidence.arms == []
    assert "Loss of information" in {row.what for row in evidence.not_assessed}


def test_an_empty_layer_fails_even_without_data() -> None:
    evidence = audit(inputs(None, structure=structure(empty_layers=["layer2.conv"])))
    assert evidence.verdict == "FAIL"
    assert "layer2.conv" in evidence.verdict_reasons[0]


def test_a_missed_target_fails() -> None:
    evidence = audit(replace(itself(400), macs_ratio=0.53))
    assert evidence.verdict == "FAIL"
    assert "53.0 % of the MACs are left, 50.0 % were asked for" in gate(evidence, "G1").reason


def test_dead_channels_beyond_the_dense_models_are_inconclusive() -> None:
    assert gate(audit(inputs(None, structure=structure(dead_channels=20))), "G1").status == "INCONCLUSIVE"


def test_a_leak_between_splits_fails_the_integrity_gate() -> None:
    evidence = audit(replace(itself(400), disjoint=False))
    assert gate(evidence, "G0").status == "FAIL"
    assert evidence.verdict == "FAIL"


def test_two_splits_of_the_same_content_are_a_leak_too() -> None:
    shared = splits()
    confirm = shared["confirm"]
    assert confirm is not None
    shared["tuning"] = SplitInfo(n=confirm.n, sha256=confirm.sha256, labels=True)
    assert gate(audit(replace(itself(400), splits=shared)), "G0").status == "FAIL"


def test_a_training_split_that_is_all_used_for_calibration_is_no_leak() -> None:
    small = splits()
    small["calibration"] = small["train"]
    assert gate(audit(replace(itself(400), splits=small)), "G0").status == "PASS"


def test_not_a_number_from_the_pruned_network_fails_by_name() -> None:
    given = itself(400)
    assert given.confirm is not None
    logits = given.confirm.pruned.logits.copy()
    logits[:7] = np.nan
    broken = Arms(given.confirm.dense, given.confirm.twin, replace(given.confirm.pruned, logits=logits))
    evidence = audit(replace(given, confirm=broken))
    assert evidence.verdict == "FAIL"
    assert "pruned network answers NaN or infinity on 7 samples" in gate(evidence, "G0").reason
    assert evidence.exemplars[0].pruned == "not a number"


def test_flips_add_up_to_the_drop() -> None:
    evidence = audit(audit_of([150] * 10, [0.05] * 10, gained=0.02))
    for comparison in (evidence.vs_twin, evidence.vs_original):
        assert comparison is not None
        assert comparison.drop is not None
        assert comparison.negative_flips is not None
        assert comparison.positive_flips is not None
        assert comparison.accuracy is not None
        assert comparison.accuracy_ref is not None
        assert comparison.disagreement is not None
        assert comparison.negative_flips - comparison.positive_flips == pytest.approx(comparison.drop.est)
        assert comparison.accuracy_ref - comparison.accuracy == pytest.approx(comparison.drop.est)
        assert comparison.disagreement >= comparison.negative_flips + comparison.positive_flips - 1e-9


def test_an_equal_loss_everywhere_fails_by_accuracy_and_not_by_skew() -> None:
    evidence = audit(audit_of([400] * 10, [0.12] * 10))
    assert gate(evidence, "G2").status == "FAIL"
    assert gate(evidence, "G3").status == "FAIL"
    assert gate(evidence, "G4").status != "FAIL"


def test_the_same_inputs_give_the_same_evidence() -> None:
    given = audit_of([60] * 10, [0.05] * 10)
    assert audit(given) == audit(given)


def test_the_generalization_gap_is_reported_against_the_twin() -> None:
    given = audit_of([200] * 4, [0.05] * 4)
    labels = labels_of([100] * 4)
    seen = predict(labels, labels, 4, 1)
    evidence = audit(replace(given, train=Arms(seen, seen, seen)))
    pruned = evidence.arms[2]
    assert pruned.train_accuracy == 100.0
    assert pruned.accuracy is not None
    assert pruned.generalization_gap == pytest.approx(100.0 - pruned.accuracy)
    assert "widened" in evidence.generalization.summary


def test_arms_that_answered_different_samples_are_refused() -> None:
    labels = labels_of([5, 5])
    answers = predict(labels, labels, 2, 0)
    other = replace(answers, rows=answers.rows + 1)
    with pytest.raises(ValueError, match="same rows in the same order"):
        Arms(answers, other, answers)


def regression(noise: float, n: int = 2000) -> AuditInputs:
    random = np.random.default_rng(0)
    labels = random.normal(0, 2, (n, 1)).astype(np.float32)

    def arm(spread: float, seed: int) -> Predictions:
        error = np.random.default_rng(seed).normal(0, spread, (n, 1)).astype(np.float32)
        return Predictions(logits=labels + error, labels=labels, rows=np.arange(n))

    twin = arm(0.5, 1)
    pruned = replace(twin, logits=twin.logits + arm(noise, 2).logits - labels) if noise else twin
    return inputs(Arms(arm(0.5, 3), twin, pruned), task="regression", class_names=None)


@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "PASS"), (0.1, "PASS"), (1.0, "FAIL")])
def test_regression_is_judged_by_explained_variance(noise: float, verdict: str) -> None:
    evidence = audit(regression(noise))
    assert evidence.verdict == verdict, evidence.verdict_reasons
    assert evidence.vs_twin is not None
    assert evidence.vs_twin.mse == pytest.approx(noise**2, abs=0.05)
    assert gate(evidence, "G3").status == "NOT_RUN"
    assert not gate(evidence, "G3").required


def test_regression_with_few_samples_is_inconclusive_and_says_how_many() -> None:
    evidence = audit(regression(0.1, n=60))
    assert evidence.verdict == "INCONCLUSIVE"
    assert "samples" in " ".join(evidence.verdict_reasons)


def test_suggestions_name_fields_of_the_recipe() -> None:
    recipe = Recipe.model_validate(
        {
            "target": {"macs": 0.4},
            "finetune": {"epochs": 1, "distill": None},
            "prune": {"schedule": {"kind": "one_shot"}},
        }
    )
    said = " ".join(audit(audit_of([300] * 10, [0.2] + [0.01] * 9, recipe=recipe)).suggestions)
    for field in ("finetune.epochs: 5", "finetune.distill", "prune.schedule", "target.macs: 0.60"):
        assert field in said
