"""The mechanisms, each in a process of its own: what they take away cannot be given back."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp, capabilities and Landlock are Linux's")


def _python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_only_what_programs_need_is_left_of_the_environment() -> None:
    code = "import os; from worker.sandbox import scrub_environment as s; s(); print(sorted(os.environ))"
    left = _python(code, REDIS_URL="redis://:secret@host", AWS_SECRET_ACCESS_KEY="x", OMP_NUM_THREADS="1", LANG="C")
    assert "REDIS_URL" not in left
    assert "AWS" not in left
    assert "OMP_NUM_THREADS" in left
    assert "PATH" in left


def test_denied_calls_fail_and_others_work() -> None:
    code = """
import os, socket, threading
from worker.sandbox import deny_system_calls
assert deny_system_calls()
for crime in (lambda: socket.socket(), lambda: os.execv("/bin/true", ["true"]), os.setsid):
    try:
        crime()
    except PermissionError:
        print("denied")
socket.socketpair()
threading.Thread(target=print, args=["thread"]).start()
"""
    assert _python(code).split() == ["denied", "denied", "denied", "thread"]


def test_a_forked_process_is_denied_the_same() -> None:
    code = """
import os, socket
from worker.sandbox import deny_system_calls
deny_system_calls()
if os.fork() == 0:
    try:
        socket.socket()
    except PermissionError:
        os._exit(7)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert _python(code) == "7"


def test_limits_cannot_be_raised_again() -> None:
    code = """
import resource
from worker import limits, sandbox
from worker.order import ChildLimits
limits.apply(ChildLimits(memory_bytes=2**30, cpu_seconds=60, file_bytes=2**20, dataset_bytes=1, model_nodes=1,
                         threads=1, device="cpu"))
sandbox.drop_capabilities()
for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
    try:
        resource.setrlimit(what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:
        print("refused")
"""
    assert _python(code).split() == ["refused"] * 3


def test_landlock_allows_the_folders_that_were_named(tmp_path: Path) -> None:
    for name in ("read", "write", "neither"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    code = f"""
from pathlib import Path
from worker.landlock import confine
folder = Path({str(tmp_path)!r})
assert confine([folder / "read" / "file"], [folder / "write"])
def allowed(action):
    try:
        action()
    except PermissionError:
        return "no"
    return "yes"
for name in ("read", "write", "neither"):
    print(allowed((folder / name / "file").read_text), allowed(lambda: (folder / name / "file").write_text("x")))
print(allowed((folder / "write" / "file").unlink), allowed((folder / "neither" / "file").unlink))
"""
    assert _python(code).split() == ["yes", "no", "yes", "yes", "no", "no", "yes", "no"]
