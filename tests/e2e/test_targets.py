"""A job whose targets have to be measured, in a worker's sandbox, over HTTP."""

from pathlib import Path

import pytest

from tests.e2e.live import Live


@pytest.mark.slow
def test_a_size_a_memory_limit_and_a_speedup_are_met_at_once(service: Live, digits: Path) -> None:
    model = service.upload("models", digits / "digits.pt2", "digits")
    dense = model["profile"]
    target = {"size_bytes": dense["size_bytes"] // 2, "memory_bytes": dense["memory_bytes"], "speedup": 1.1}
    recipe = {"target": target, "prune": {"granularity": "channel"}}
    refused = service.submit(model, None, recipe | {"target": {"size_bytes": 100}})
    assert refused.json()["type"].endswith("/target-unreachable"), refused.text
    job = service.run(model, None, recipe)
    assert job["status"] == "succeeded", job["error"]
    report = service.http.get(f"/v1/jobs/{job['id']}/artifacts/report.json").json()
    found = {each["name"]: each for each in report["benefits"]["targets"]}
    assert list(found) == list(target)
    assert all(each["met"] for each in found.values())
    assert found["size_bytes"]["reached"] == job["result"]["size_bytes"] <= target["size_bytes"]
    assert found["speedup"]["ci95"][0] >= 1.1
