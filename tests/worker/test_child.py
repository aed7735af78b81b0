"""What a child may do, and that it does not outlive its parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.contract.resources import Job, JobState
from tests.rig import Rig, lives, wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and Landlock are Linux's")


@linux
def test_a_child_that_was_taken_over_reaches_neither_network_nor_broker_nor_other_files(
    rig: Rig, run: Callable[[str], Job]
) -> None:
    job = run("thief")
    assert ("log", "worked: nothing") in rig.events(job.id)
    assert job.status == JobState.SUCCEEDED


@linux
def test_what_isolates_the_child_is_written_down(rig: Rig, run: Callable[[str], Job]) -> None:
    [said] = [message for type_, message in rig.events(run("quick").id) if type_ == "log"]
    assert said == (
        "Isolated from the system by: memory limit 3 GiB, files of other jobs and the database out of reach, "
        "no network, no other programs."
    )


_PARENT = """
import sys
from pathlib import Path
from tests.rig import Rig
from worker import child
from worker.tasks import run_job
from worker.workplace import Workplace

if __name__ == "__main__":
    child.PRELOADED[:] = ["worker.child"]
    rig = Rig(Path(sys.argv[1]))
    job_id = rig.job(sys.argv[2])
    print(job_id, flush=True)
    run_job(Workplace(rig.settings, "tests.rig_work:run"), job_id)
"""


@pytest.mark.parametrize("work", ["sleeper", pytest.param("deaf", marks=linux)])
def test_a_child_ends_when_its_parent_is_killed_whatever_it_is_doing(tmp_path: Path, work: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, script, tmp_path / "data", work]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        job_id = parent.stdout.readline().strip()
        rig = Rig(tmp_path / "data")
        wait_until(lambda: "pid" in dict(rig.events(job_id)))
        child = int(dict(rig.events(job_id))["pid"])
        server = _parent_of(child)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not lives(child) and not lives(server), 10)
    rig.close()


def _parent_of(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(found.stdout)
