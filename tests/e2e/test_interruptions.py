"""The main job when something dies under it: cancelled, its worker killed, the API killed, out of memory, restarted."""

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.e2e.live import Json, Live, live
from tests.rig import lives

INPUT = {"layout": "nhwc", "scale": 0.0625}
EPOCHS = 12


def uploads(service: Live, digits: Path) -> tuple[Json, Json]:
    return service.upload("models", digits / "digits.pt2"), service.upload("datasets", digits / "digits.npz")


def training(service: Live, digits: Path) -> str:
    """The path of a job that has trained for two epochs and has most of them before it."""
    path = service.start(
        *uploads(service, digits),
        {"target": {"macs": 0.5}, "input": INPUT, "finetune": {"epochs": EPOCHS, "batch_size": 64}},
    )
    service.poll(f"{path}/events?limit=1000", lambda page: len(_epochs(page["data"])) > 2)
    job = service.http.get(path).json()
    assert (job["status"], job["stage"]) == ("running", "finetune")
    return path


def test_a_job_cancelled_in_training_ends_cancelled_and_leaves_no_process(service: Live, digits: Path) -> None:
    path = training(service, digits)
    processes = service.of_job()
    assert processes
    assert service.http.post(f"{path}/cancel").status_code in (200, 202)
    job = service.finish(path)
    assert (job["status"], job["error"], job["result"]) == ("cancelled", None, None)
    assert not any(lives(pid) for pid in processes)
    assert service.http.get(f"{path}/artifacts").json()["data"] == []


def test_a_job_does_not_notice_that_the_api_is_killed(service: Live, digits: Path) -> None:
    path = training(service, digits)
    os.kill(service.child("service.cli", "api"), signal.SIGKILL)
    job = service.finish(path)
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job["error"]
    assert _epochs(service.events(path)) == list(range(EPOCHS + 1))


def test_a_job_whose_worker_is_killed_goes_on_after_its_last_epoch(tmp_path: Path, digits: Path) -> None:
    with live(tmp_path / "data", SECATEUR_JOBS__LEASE_SECONDS="3") as service:
        path = training(service, digits)
        processes = service.of_job()
        os.kill(service.child("worker", "jobs"), signal.SIGKILL)
        job = service.finish(path)
        assert (job["status"], job["attempt"]) == ("succeeded", 2), job["error"]
        assert not any(lives(pid) for pid in processes)
        told = _epochs(service.events(path))
    # An epoch is told after its checkpoint was written, so that none is told again; what was told may be lost.
    assert len(told) == len(set(told))
    assert told[:3] == [0, 1, 2]
    assert told[-1] == EPOCHS


def test_a_service_that_is_stopped_and_started_finishes_its_job(tmp_path: Path, digits: Path) -> None:
    """With a single attempt allowed: a worker that is told to stop hands its job back, which uses none up."""
    with live(tmp_path / "data", SECATEUR_JOBS__MAX_ATTEMPTS="1") as service:
        path = training(service, digits)
    with live(tmp_path / "data", SECATEUR_JOBS__MAX_ATTEMPTS="1") as service:
        job = service.finish(path)
        assert job["status"] == "succeeded", job["error"]
        events = service.events(path)
    assert "The worker was stopped; the job is queued again." in [event["message"] for event in events]
    assert len(_epochs(events)) == len(set(_epochs(events)))


@pytest.fixture
def hungry(tmp_path: Path) -> tuple[bytes, bytes]:
    """A model and a dataset: few weights and few images, but gigabytes of activations in one batch."""
    layers: list[torch.nn.Module] = []
    for channels in (1, 64, 64, 64):
        layers += [torch.nn.Conv2d(channels, 64, 1, bias=False), torch.nn.BatchNorm2d(64), torch.nn.ReLU()]
    network = torch.nn.Sequential(
        *layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 2)
    ).eval()  # fmt: skip
    example = (torch.zeros(2, 1, 96, 96),)
    model, dataset = io.BytesIO(), io.BytesIO()
    torch.export.save(torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim("batch")},)), model)
    images = np.random.default_rng(0).random((400, 1, 96, 96), np.float32)
    labels = np.arange(400) % 2
    np.savez(dataset, x_train=images[:340], y_train=labels[:340], x_test=images[340:], y_test=labels[340:])
    return model.getvalue(), dataset.getvalue()


def test_a_job_that_needs_more_memory_than_allowed_says_so_and_the_next_one_runs(
    tmp_path: Path, digits: Path, hungry: tuple[bytes, bytes]
) -> None:
    with live(tmp_path / "data", SECATEUR_LIMITS__JOB_MEMORY_BYTES=str(4 * 2**30)) as service:
        model, dataset = service.upload("models", hungry[0]), service.upload("datasets", hungry[1])
        assert model["status"] == dataset["status"] == "ready", (model, dataset)
        recipe = {"target": {"macs": 0.6}, "finetune": {"epochs": 1, "batch_size": 256, "augment": []}}
        job = service.run(model, dataset, recipe)
        assert job["status"] == "failed", job
        assert job["error"]["code"] == "out-of-memory"
        assert job["error"]["stage"] in ("prune", "finetune")  # whichever first takes a whole batch backwards
        assert "4 GiB" in job["error"]["detail"]
        assert "SECATEUR_LIMITS__JOB_MEMORY_BYTES" in job["error"]["detail"]
        small = service.run(service.upload("models", digits / "digits.pt2"), None, {"target": {"params": 0.6}})
        assert small["status"] == "succeeded", small["error"]


def _epochs(events: list[Json]) -> list[int]:
    """The epochs of the pruned arm, in the order in which they were told."""
    found = [event["data"] for event in events if event["type"] == "metrics"]
    return [data["epoch"] for data in found if data["arm"] == "pruned"]
