"""Processes kept alive together, with small programs in the place of the service's own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.rig import lives, wait_until

# Members write their pid into a file of their name when they start.
_PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from service.lifeline import watch_lifeline
watch_lifeline()
name = sys.argv[1]
if name == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def stop(*_):
        with open("stopped", "a") as file:
            file.write(name + " ")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
with open("started", "a") as file:
    file.write(name + " ")
Path(name).write_text(str(os.getpid()))
print("hello", flush=True)
while True:
    time.sleep(0.05)
"""

_FAMILY = """
import sys
from service.family import Family, PythonProcess
members = [PythonProcess(name, ["program", name]) for name in sys.argv[1:]]
Family(members, lambda line: print(line, flush=True)).run()
"""


def _start(folder: Path, *names: str) -> "subprocess.Popen[str]":
    (folder / "program.py").write_text(_PROGRAM)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[2]}:{folder}"}
    with (folder / "output").open("w") as output:
        family = subprocess.Popen(
            [sys.executable, "-c", _FAMILY, *names], cwd=folder, stdout=output, text=True, env=environment
        )
    wait_until(lambda: all((folder / name).exists() and (folder / name).read_text() for name in names))
    return family


def _pid(folder: Path, name: str) -> int:
    return int((folder / name).read_text())


def test_members_stop_in_reverse_order(tmp_path: Path) -> None:
    with _start(tmp_path, "first", "second", "third") as family:
        family.terminate()
        assert family.wait(30) == 0
    assert (tmp_path / "stopped").read_text().split() == ["third", "second", "first"]
    assert not any(lives(_pid(tmp_path, name)) for name in ("first", "second", "third"))


def test_a_member_that_dies_is_started_again_and_the_others_are_left_alone(tmp_path: Path) -> None:
    with _start(tmp_path, "first", "second") as family:
        first, second = _pid(tmp_path, "first"), _pid(tmp_path, "second")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: (tmp_path / "started").read_text().split().count("first") == 2)
        wait_until(lambda: _pid(tmp_path, "first") != first)
        assert _pid(tmp_path, "second") == second
        family.terminate()
    assert "first was killed by signal 9; restarting it in 0.5 s" in (tmp_path / "output").read_text()


def test_a_second_signal_kills_what_does_not_stop(tmp_path: Path) -> None:
    with _start(tmp_path, "stubborn") as family:
        pid = _pid(tmp_path, "stubborn")
        family.send_signal(signal.SIGINT)
        assert lives(pid)
        family.send_signal(signal.SIGINT)
        assert family.wait(30) == 0
    assert not lives(pid)


def test_members_do_not_outlive_a_family_that_is_killed(tmp_path: Path) -> None:
    with _start(tmp_path, "first") as family:
        family.kill()
    wait_until(lambda: not lives(_pid(tmp_path, "first")), 10)
    assert (tmp_path / "stopped").read_text().split() == ["first"]


def test_what_members_print_carries_their_name(tmp_path: Path) -> None:
    with _start(tmp_path, "first") as family:
        wait_until(lambda: "hello" in (tmp_path / "output").read_text())
        family.terminate()
    assert "first       | hello" in (tmp_path / "output").read_text()
