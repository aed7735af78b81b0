from pathlib import Path

import pytest
import torch

from worker.training.checkpoint import CheckpointStore

TENSORS = {"a/weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(3.0), "rows": torch.arange(4)}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.save("stage", TENSORS, {"epoch": 2, "loss": 0.1})
    return store


def test_what_is_saved_is_loaded_bit_for_bit(store):
    loaded = store.load("stage")
    assert loaded.meta == {"epoch": 2, "loss": 0.1}
    assert loaded.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_later_checkpoint_replaces_the_earlier_and_leaves_others(store, tmp_path):
    store.save("stage-pruned", TENSORS, {"epoch": 7})
    store.save("stage", {"x": torch.zeros(1)}, {"epoch": 3})
    assert store.load("stage").meta == {"epoch": 3}
    assert store.load("stage-pruned").meta == {"epoch": 7}
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4


def test_there_may_be_none(store, tmp_path):
    assert store.load("other") is None
    assert CheckpointStore(tmp_path / "nowhere").load("stage") is None


@pytest.mark.parametrize("pattern", ["*.json", "*.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "remove"])
def test_a_damaged_checkpoint_counts_as_absent(store, tmp_path, pattern, harm):
    (path,) = (tmp_path / "checkpoints").glob(pattern)
    content = path.read_bytes()
    if harm == "cut":
        path.write_bytes(content[:-7])
    elif harm == "flip":
        path.write_bytes(content[:40] + bytes([content[40] ^ 0x80]) + content[41:])
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert store.load("stage") is None


def test_a_kill_before_the_commit_leaves_the_old_checkpoint(store, monkeypatch):
    def killed(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise KeyboardInterrupt
        return rename(self, target)

    rename = Path.replace
    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save("stage", {"x": torch.zeros(1)}, {"epoch": 3})
    monkeypatch.undo()
    assert store.load("stage").meta["epoch"] == 2
    store.save("stage", {"x": torch.zeros(1)}, {"epoch": 3})
    assert store.load("stage").meta["epoch"] == 3


def test_no_pickle_is_written(store, tmp_path):
    assert {path.suffix for path in (tmp_path / "checkpoints").iterdir()} == {".json", ".safetensors"}


def test_numbers_that_json_cannot_hold_are_refused(store):
    with pytest.raises(ValueError, match="JSON"):
        store.save("stage", {}, {"loss": float("nan")})
