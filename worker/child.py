"""Inside the child process: lower the limits, enter the sandbox, do the work, say what came out.

The child is forked from a server that has imported torch and touched nothing. It has no database, no broker and no
credentials; it reads uploads, writes files into its own folders, and speaks to its parent through a pipe, in JSON.
"""

import contextlib
import faulthandler
import fcntl
import importlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import parent_process
from pathlib import Path
from typing import Any

from service.contract.resources import EventLevel
from worker import landlock, limits, messages, sandbox
from worker.errors import JobFailed, OutOfMemory
from worker.order import InspectOrder, JobOrder, Plain

__all__ = ["PRELOADED", "main"]

# Imported once by the fork server. Importing is safe to fork; using torch there is not (the child hangs).
PRELOADED = [
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "worker.child",
    "worker.pipeline",
    "worker.inspection",
    # What torch.onnx.export imports when it is first called; 0.7 s of every job otherwise.
    "onnxscript",
    "torch._dynamo",
]

# A progress bar needs no more than this; an epoch has thousands of steps.
_PROGRESS_PAUSE_SECONDS = 0.05

# How torch and ONNX Runtime say that memory was refused; they have no exception of their own for it.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "bad allocation")


class PipeReporter:
    """The `Reporter` of a job: every call becomes a message to the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._progress_at = 0.0

    def send(self, message: Plain) -> None:
        with self._lock:
            self._pipe.send_bytes(message.model_dump_json().encode())

    def stage(self, name: str) -> None:
        self._progress_at = 0.0
        self.send(messages.Stage(name=name))

    def progress(self, fraction: float, message: str) -> None:
        at = time.monotonic()
        if fraction >= 1 or at - self._progress_at >= _PROGRESS_PAUSE_SECONDS:
            self._progress_at = at
            self.send(messages.Progress(fraction=min(max(fraction, 0.0), 1.0), message=message))

    def event(self, type_: str, message: str, data: dict[str, Any] | None = None, level: EventLevel = "info") -> None:
        self.send(messages.Event(type=type_, message=message, data=data or {}, level=level))

    def warn(self, code: str, detail: str) -> None:
        self.send(messages.Warned(code=code, detail=detail))


def main(work: str, order: JobOrder | InspectOrder, scratch: Path, pipe: Connection, log: Connection) -> None:
    """Entry point of the process. `work` names the function to call, `module:function`."""
    os.setpgid(0, 0)  # the parent ends the whole group, should the child have started anything
    limits.apply(order.limits)
    _die_with_parent()
    _redirect_output(log)
    _close_other_files(pipe)
    isolation = _isolate(order, scratch)
    reporter = PipeReporter(pipe)
    try:
        if isinstance(order, JobOrder):
            reporter.event("log", f"Isolated from the system by: {', '.join(isolation)}.", {"isolation": isolation})
        reporter.send(messages.Done(outcome=_call(work, order, reporter).model_dump(mode="json")))
    except JobFailed as failure:
        reporter.send(_failed(failure))
    except Exception as error:  # noqa: BLE001, whatever it is, the parent must hear of it
        if _is_out_of_memory(error):
            reporter.send(_failed(out_of_memory(order.limits.memory_bytes)))
        else:
            reporter.send(messages.Crashed(traceback=traceback.format_exc()))


def out_of_memory(memory_bytes: int) -> OutOfMemory:
    return OutOfMemory(
        f"The job reached its memory limit of {memory_bytes / 2**30:.3g} GiB. Use a smaller batch size or a smaller "
        "model, or let the operator raise SECATEUR_LIMITS__JOB_MEMORY_BYTES."
    )


def _call(work: str, order: JobOrder | InspectOrder, reporter: PipeReporter) -> Plain:
    module, _, name = work.partition(":")
    function: Callable[..., Plain] = getattr(importlib.import_module(module), name)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(order.limits.threads)
    return function(order, reporter) if isinstance(order, JobOrder) else function(order)


def _isolate(order: JobOrder | InspectOrder, scratch: Path) -> list[str]:
    """Give up what the work does not need, as far as this system lets us. Returns what was achieved, in words."""
    sandbox.scrub_environment()
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = str(scratch)
    os.chdir(scratch)
    if isinstance(order, JobOrder):
        read = [upload.path for upload in (order.model, order.dataset) if upload]
        write = [scratch, order.work_dir, order.output_dir]
    else:
        read, write = [order.upload.path], [scratch]
    sandbox.drop_capabilities()
    achieved = [f"memory limit {order.limits.memory_bytes / 2**30:.3g} GiB"]
    if landlock.confine(read, write):
        achieved.append("files of other jobs and the database out of reach")
    if sandbox.deny_system_calls():
        achieved.append("no network, no other programs")
    return achieved


def _redirect_output(log: Connection) -> None:
    """What native code prints goes to the parent, which keeps the last of it."""
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    log.close()
    faulthandler.enable()


def _close_other_files(pipe: Connection) -> None:
    """Close what was inherited, except the pipe to the parent and the watch on its life."""
    parent = parent_process()
    assert parent is not None, "the child is started by multiprocessing"
    kept = {0, 1, 2, pipe.fileno(), parent.sentinel}
    for name in os.listdir("/dev/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the one that listed the folder is closed already
                os.close(int(name))


def _die_with_parent() -> None:
    """Have this process killed when the parent is gone, which closes the other end of its sentinel, a pipe.

    On Linux the kernel does it, whatever native code is running then. PR_SET_PDEATHSIG would be no use: the parent that
    it knows is the fork server. Elsewhere a thread waits.
    """
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    if sys.platform == "linux":
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if wait_for([sentinel], 0):  # it was gone before we asked
            os._exit(1)
    else:
        threading.Thread(target=lambda: wait_for([sentinel]) and os._exit(1), name="parent", daemon=True).start()


def _failed(failure: JobFailed) -> messages.Failed:
    return messages.Failed(
        code=failure.code, title=failure.title, detail=failure.detail[:20_000], retryable=failure.retryable
    )


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)
