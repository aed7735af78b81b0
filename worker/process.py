"""The parent's hold on a child process: start it from the fork server, hear what it says, end it."""

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from worker import child, messages
from worker.order import InspectOrder, JobOrder

__all__ = ["ChildProcess", "cool_down", "warm_up"]

# On macOS the frameworks below torch do not survive a fork, so that each child there imports them anew.
_context: SpawnContext | ForkServerContext = (
    multiprocessing.get_context("spawn") if sys.platform == "darwin" else multiprocessing.get_context("forkserver")
)

# `start` looks at the exit codes of all children, and two threads that read one exit code at once lose it.
_exit_codes = threading.Lock()

_INBOX_MESSAGES = 1000  # a child that says more waits until it was heard
_LOG_BYTES = 64 * 1024


def warm_up() -> None:
    """Start the fork server and wait until it has imported torch, so that the first job starts as fast as the rest."""
    multiprocessing.set_forkserver_preload(child.PRELOADED)
    process = _context.Process(target=_nothing, daemon=True)
    with _exit_codes:
        process.start()
    wait_for([process.sentinel])
    with _exit_codes:
        process.join()


def cool_down() -> None:
    """End the fork server and what it left, and wait for both: left alone they end only seconds after this process.

    For the end of a process, when no child runs any more. The standard library has this for its own tests alone, so
    that its names are private; a child that is being started meanwhile fails with EOFError.
    """
    if sys.platform == "darwin":
        return
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)  # it may be importing torch, and would not listen until it has
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # private
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # private


class ChildProcess:
    """One child, one order. Create, `receive` until None, `end`."""

    def __init__(self, work: str, order: JobOrder | InspectOrder, scratch: Path) -> None:
        """Start the child; `work` names the function that carries out the order, `module:function`."""
        multiprocessing.set_forkserver_preload(child.PRELOADED)
        self._said: queue.Queue[messages.Message | None] = queue.Queue(_INBOX_MESSAGES)
        self._log = bytearray()
        self._starting = threading.Lock()
        self._started = self._abandoned = False
        self._over = False
        self._pipe, self._child_pipe = _context.Pipe(duplex=False)
        self._log_pipe, self._child_log = _context.Pipe(duplex=False)
        self._process = _context.Process(
            target=child.main, args=(work, order, scratch, self._child_pipe, self._child_log), daemon=True
        )
        # Starting waits for the fork server, which may have to import torch first. The lease must not wait with it.
        self._thread = threading.Thread(target=self._tend, name=f"tend-{self._process.name}", daemon=True)
        self._thread.start()

    def receive(self, timeout: float) -> list[messages.Message | None]:
        """What the child has said since, after waiting for its first word. None is the last: it has nothing to add."""
        said: list[messages.Message | None] = []
        with contextlib.suppress(queue.Empty):
            said.append(self._said.get(timeout=timeout))
            while True:
                said.append(self._said.get_nowait())
        return said

    def end(self, grace_seconds: float = 0.0) -> int | None:
        """Wait for the child to end, then kill what is left of it and of all that it started.

        Returns the exit code (negative: the signal that killed it), or None when it had not started; then it is killed
        as soon as it does. There is no SIGTERM first: checkpoints appear by rename and the folders are the parent's to
        clean, so there is nothing left to do.
        """
        with self._starting:
            self._abandoned |= not self._started
        pid = self._process.pid
        if self._abandoned or pid is None:
            return None
        if not self._over:
            wait_for([self._process.sentinel], grace_seconds)
            self._kill(pid)
            self._over = True
        return self._process.exitcode

    @property
    def log_tail(self) -> str:
        """The last that the child wrote to its standard output and error, complete after `end`."""
        return self._log.decode(errors="replace")

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has no group before its first line of code
            os.killpg(pid, signal.SIGKILL)
        if not wait_for([self._process.sentinel], 0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for([self._process.sentinel])
        with _exit_codes:
            self._process.join()
        while self._thread.is_alive():  # it may be waiting for room in the inbox
            self.receive(0.01)
        self._pipe.close()
        self._log_pipe.close()

    def _tend(self) -> None:
        """Start the child and pass on what it says until its pipes are closed."""
        try:
            with _exit_codes:
                self._process.start()
        except (OSError, EOFError) as error:
            self._said.put(messages.Crashed(traceback=f"the child process could not be started: {error!r}"))
            self._said.put(None)
            return
        finally:
            self._child_pipe.close()
            self._child_log.close()
        with self._starting:
            self._started = True
        if self._abandoned:
            self._forget()
            return
        open_pipes: list[Connection] = [self._pipe, self._log_pipe]
        while open_pipes:
            for ready in wait_for(open_pipes):
                assert isinstance(ready, Connection)
                if not (self._hear() if ready is self._pipe else self._note()):
                    open_pipes.remove(ready)
        self._said.put(None)

    def _forget(self) -> None:
        """End a child that nobody waits for any more."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        wait_for([self._process.sentinel])
        with _exit_codes:
            self._process.join()
        self._pipe.close()
        self._log_pipe.close()

    def _hear(self) -> bool:
        """Pass on one message. False when there will be no more."""
        try:
            self._said.put(messages.read(self._pipe.recv_bytes(messages.MAX_BYTES)))
        except (EOFError, OSError):
            return False
        except ValueError as error:
            self._said.put(messages.Crashed(traceback=str(error)))
            if self._process.pid is not None:
                os.kill(self._process.pid, signal.SIGKILL)  # whoever breaks the protocol gets no time to finish
            return False
        return True

    def _note(self) -> bool:
        """Keep the last of what the child printed. False at the end."""
        printed = os.read(self._log_pipe.fileno(), _LOG_BYTES)
        self._log += printed
        del self._log[:-_LOG_BYTES]
        return bool(printed)


def _nothing() -> None:
    """A child that only shows that the fork server serves."""
