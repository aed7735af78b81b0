"""Processes that are kept alive together: started in order, restarted when they die, stopped in reverse order."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

from service.lifeline import LIFELINE

__all__ = ["Family", "Member", "PythonProcess", "relay_output"]

_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.2
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 30.0
_HEALTHY_SECONDS = 30.0  # a process that has lived this long is restarted without delay


class Member(Protocol):
    name: str
    process: subprocess.Popen[bytes] | None

    def start(self) -> None:
        """Start the process, and return when others may rely on it."""


class PythonProcess:
    """A Python module in a process of its own, which ends when this one is gone (`service.lifeline`)."""

    def __init__(
        self, name: str, arguments: Sequence[str], pass_fds: Sequence[int] = (), prefix: bool = True
    ) -> None:  # fmt: skip
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = arguments
        self._pass_fds = pass_fds
        self._prefix = prefix

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603, our own modules
            [sys.executable, "-m", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {LIFELINE: "1"},
            pass_fds=self._pass_fds,
            start_new_session=True,  # Ctrl-C in the terminal reaches the parent, which stops its children in order
        )
        assert self.process.stdout is not None
        relay_output(self.process.stdout, self.name if self._prefix else None)


class Family:
    """The members, and the loop that keeps them alive until a signal arrives.

    The first SIGTERM or SIGINT stops the members in reverse order, each with the time it needs to hand back its work; a
    second one kills what is left.
    """

    def __init__(self, members: Sequence[Member], say: Callable[[str], None]) -> None:
        self._members = members
        self._say = say
        self._signals = 0
        self._delays = dict.fromkeys((member.name for member in members), _FIRST_DELAY_SECONDS)
        self._started_at: dict[str, float] = {}
        self._restart_at: dict[str, float] = {}

    def run(self, look: Callable[[], None] = lambda: None) -> None:
        """Start the members and keep them alive until told to stop. `look` is called several times a second."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            for member in self._members:
                if not self._signals:
                    self._start(member)
            while not self._signals:
                time.sleep(_LOOK_SECONDS)
                for member in self._members:
                    self._keep_alive(member)
                look()
        finally:
            self._stop()

    def _start(self, member: Member) -> None:
        self._started_at[member.name] = time.monotonic()
        member.start()

    def _keep_alive(self, member: Member) -> None:
        """Restart a member that died: at once if it had been well for long, else after twice the delay of last time."""
        now = time.monotonic()
        name = member.name
        if member.process is not None and (exit_code := member.process.poll()) is not None:
            well = now - self._started_at[name] > _HEALTHY_SECONDS
            delay = self._delays[name] = _FIRST_DELAY_SECONDS if well else self._delays[name]
            self._delays[name] = min(2 * delay, _LONGEST_DELAY_SECONDS)
            self._say(f"{name} {_ended(exit_code)}; restarting it in {delay:g} s")
            member.process = None
            self._restart_at[name] = now + delay
        if member.process is None and now >= self._restart_at.get(name, now):
            self._start(member)

    def _stop(self) -> None:
        for member in reversed(self._members):
            if (process := member.process) is None:
                continue
            process.terminate()
            deadline = time.monotonic() + _STOP_SECONDS
            while process.poll() is None:
                if time.monotonic() > deadline or self._signals > 1:
                    self._say(f"{member.name} does not stop; killing it")
                    process.kill()
                    process.wait()
                time.sleep(0.02)

    def _on_signal(self, *_: Any) -> None:
        self._signals += 1


def relay_output(stream: BinaryIO | Any, name: str | None) -> None:
    """Copy what a process prints to our standard output, line by line, with its name in front."""
    prefix = b"" if name is None else f"{name:<12}| ".encode()

    def relay() -> None:
        for line in stream:
            with _output:
                sys.stdout.buffer.write(prefix + line)
                sys.stdout.buffer.flush()

    threading.Thread(target=relay, name=f"output-{name}", daemon=True).start()


_output = threading.Lock()


def _ended(exit_code: int) -> str:
    return f"was killed by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
