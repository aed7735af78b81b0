import json

import pytest

from worker import messages


@pytest.mark.parametrize(
    "message",
    [
        messages.Stage(name="prune"),
        messages.Progress(fraction=0.5, message="epoch 1 of 2"),
        messages.Event(type="metrics", message="loss", data={"loss": 0.1}, level="info"),
        messages.Warned(code="small", detail="few samples"),
        messages.Done(outcome={"verdict": "PASS"}),
        messages.Failed(code="nothing-removed", title="t", detail="d", retryable=False),
        messages.Crashed(traceback="Traceback"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_sent_is_what_is_read(message: messages.Message) -> None:
    assert messages.read(message.model_dump_json().encode()) == message


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x04cos\nsystem\n",
        b"{}",
        json.dumps({"kind": "shutdown"}).encode(),
        json.dumps({"kind": "progress", "fraction": 2, "message": ""}).encode(),
        json.dumps({"kind": "stage", "name": "x" * 101}).encode(),
        json.dumps({"kind": "stage", "name": "x", "status": "succeeded"}).encode(),
        json.dumps({"kind": "failed", "code": "../admin", "title": "", "detail": "", "retryable": False}).encode(),
    ],
)
def test_anything_else_is_refused_without_repeating_it(raw: bytes) -> None:
    with pytest.raises(ValueError, match=f"the child sent {len(raw)} bytes that are no message"):
        messages.read(raw)
