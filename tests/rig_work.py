"""What the children do in tests. The first word of the model's bytes names the function."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from hashlib import sha256
from pathlib import Path

from service.contract.resources import JobResult, ModelProfile, Prunable
from worker.errors import NothingRemoved
from worker.order import InspectOrder, JobOrder, JobOutcome, MadeFile
from worker.reporter import Reporter

__all__ = ["PROFILE", "inspect", "run"]

PROFILE = ModelProfile(
    format="pt2",
    inputs=[],
    outputs=[],
    parameters=1,
    macs=1,
    layers=[],
    prunable=Prunable(components=0, groups=[], reach=[], min_macs=1.0, min_params=1.0),
    blocked=[],
    normalization="batch_norm",
)


def run(order: JobOrder, reporter: Reporter) -> JobOutcome:
    """The job: do what the model says."""
    word = order.model.path.read_text().split()[0]
    return {name: work for name, work in globals().items() if callable(work)}[word](order, reporter)


def inspect(order: InspectOrder):
    """The inspection: profiles whatever is not `pickle`."""
    word = order.upload.path.read_bytes()[:6]
    if word == b"pickle":
        raise NothingRemoved("a pickle")
    if word == b"segfau":
        segfault(order, None)
    if word == b"sleepy":  # long enough to be killed, short enough for a second attempt
        time.sleep(3)
    return PROFILE


def quick(order, reporter):
    reporter.stage("load")
    reporter.event("metrics", "loss", {"loss": 0.5})
    reporter.progress(1.0, "loaded")
    reporter.warn("small", "few samples")
    (order.output_dir / "model.onnx").write_bytes(b"pruned")
    made = MadeFile(
        name="model.onnx", media_type="application/octet-stream", size_bytes=6, sha256=sha256(b"pruned").hexdigest()
    )
    return JobOutcome(
        verdict="PASS",
        result=JobResult(macs=1, macs_ratio=0.5, params=1, params_ratio=0.5),
        recipe=order.recipe,
        warnings=[],
        artifacts=[made],
    )


def steps(order, reporter):
    """Five steps with a checkpoint each; goes on from the last one."""
    reporter.stage("finetune")
    checkpoint = order.work_dir / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first, 5):
        reporter.event("step", f"attempt {order.attempt} does step {step}")
        time.sleep(0.1)
        part = order.work_dir / "step.part"
        part.write_text(str(step + 1))
        part.rename(checkpoint)
    return quick(order, reporter)


def pid(order, reporter):
    """Says its process id, then works without end."""
    reporter.stage("finetune")
    reporter.event("pid", str(os.getpid()))
    while True:
        time.sleep(0.05)
        reporter.progress(0.5, "working")


def pid_once(order, reporter):
    """As `pid` on the first attempt, quick on the second."""
    if order.attempt > 1:
        reporter.event("step", f"found {(order.work_dir / 'checkpoint').read_text()}")
        return quick(order, reporter)
    (order.work_dir / "checkpoint").write_text("what attempt 1 left")
    return pid(order, reporter)


def until_told(order, reporter):
    """Works until there is a file `go` in its work folder, whatever the attempt."""
    reporter.stage("finetune")
    while not (order.work_dir / "go").exists():
        time.sleep(0.05)
        reporter.progress(0.5, "waiting")
    return quick(order, reporter)


def deaf(order, reporter):
    """Ignores SIGTERM and holds on to the interpreter's lock."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reporter.stage("prune")
    reporter.event("pid", str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)


def sleeper(order, reporter):
    """Says its process id, then nothing for long."""
    reporter.event("pid", str(os.getpid()))
    time.sleep(600)


def silent(order, reporter):
    reporter.stage("prune")
    time.sleep(600)


def refused(order, reporter):
    reporter.stage("prune")
    raise NothingRemoved("nothing was removed: all 3 groups are protected")


def bug(order, reporter):
    reporter.stage("audit")
    raise KeyError("a secret path /home/alice")


def hungry(order, reporter):
    """Asks torch for more memory than there is."""
    import torch

    reporter.stage("baseline")
    torch.ones(8 * 2**30, dtype=torch.uint8)


def hungry_python(order, reporter):
    bytearray(8 * 2**30)


def hungry_cpp(order, reporter):
    """A C++ program that dies of std::bad_alloc prints this."""
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def killed(order, reporter):
    reporter.stage("finetune")
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(order, reporter):
    ctypes.string_at(0)


def spin(order, reporter):
    while True:
        pass


def liar(order, reporter):
    """Claims a file that it did not make."""
    outcome = quick(order, reporter)
    (order.output_dir / "model.onnx").unlink()
    (order.output_dir / "model.onnx").symlink_to("/etc/passwd")
    return outcome


def babbler(order, reporter):
    for number in range(30_000):
        reporter.event("log", f"line {number}")
    return quick(order, reporter)


def printer(order, reporter):
    for _ in range(1000):
        os.write(1, b"x" * 4096)
    return quick(order, reporter)


def gibberish(order, reporter):
    reporter._pipe.send_bytes(b"\x80\x04cos\nsystem\n")
    time.sleep(600)


def thief(order, reporter):
    """Tries what a model that took over the child would try, and reports what worked."""
    worked = []

    def attempt(name, crime):
        with contextlib.suppress(OSError):
            crime()
            worked.append(name)

    data_dir = order.work_dir.parents[2]
    attempt("internet", lambda: socket.socket(socket.AF_INET))
    attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
    attempt("program", lambda: subprocess.run(["/bin/true"], check=True))
    attempt("read database", (data_dir / "secateur.db").read_bytes)
    attempt("kill the parent", lambda: os.kill(os.getppid(), signal.SIGTERM))
    attempt("write database", lambda: (data_dir / "secateur.db").write_text(""))
    attempt("write other job", lambda: (data_dir / "jobs" / "loot").mkdir())
    attempt("change model", lambda: order.model.path.write_text("x"))
    attempt("home", lambda: (Path.home() / "loot").write_text("x"))
    attempt("environment of the parent", Path(f"/proc/{os.getppid()}/environ").read_bytes)
    reporter.event("log", f"worked: {', '.join(worked) or 'nothing'}")
    threading.Thread(target=time.sleep, args=(0,)).start()  # threads are allowed
    return quick(order, reporter)
