import json
import shlex

import pytest

from service.contract.recipe import Recipe
from service.contract.report import Report
from tests.worker.audit.synthetic import audit_of, inputs
from tests.worker.report.examples import report_of
from worker.report.build import software_versions


def test_a_report_survives_the_way_through_json() -> None:
    report = report_of(audit_of([60] * 10, [0.05] * 10))
    text = report.model_dump_json(by_alias=True)
    assert json.loads(text)["schema"] == "secateur-report/1"
    assert Report.model_validate_json(text) == report


def test_a_report_holds_no_number_that_json_cannot_write() -> None:
    for given in (audit_of([60, 0, 1, 12], [0.05] * 4), inputs(None)):
        text = report_of(given).model_dump_json()
        json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the report"))
        assert "NaN" not in text


def test_the_schema_of_the_report_can_be_published() -> None:
    schema = Report.model_json_schema(by_alias=True)
    assert {"schema", "verdict", "vs_twin", "gates"} <= schema["properties"].keys()


def test_the_command_repeats_the_run_whatever_the_recipe_holds() -> None:
    recipe = Recipe.model_validate({"target": {"macs": 0.5}, "prune": {"protect": ['it\'s `$HOME` "quoted"']}})
    words = shlex.split(report_of(inputs(None), recipe=recipe).reproduce.command)
    assert words[:2] == ["curl", "--json"]
    assert Recipe.model_validate(json.loads(words[2])["recipe"]) == recipe


def test_versions_name_what_could_change_a_number() -> None:
    assert {"torch", "onnxruntime", "numpy"} <= software_versions().keys()
