"""Carry out one order in a child process while keeping the lease on its row.

The loop is the parent's whole part in a job: hear the child, tell the database, obey what the database answers.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from service.contract.resources import JobError
from service.errors import problem_type
from service.settings import Settings
from service.store.jobs import NewEvent
from worker import messages
from worker.autopsy import cause_of_death, described, internal_error
from worker.errors import TimeLimit
from worker.lease import Lease
from worker.order import ChildLimits
from worker.process import ChildProcess
from worker.progress import JobProgress

__all__ = ["Cancelled", "Ending", "Execution", "Failed", "Fenced", "Stopped", "Succeeded"]

log = logging.getLogger(__name__)

Made = TypeVar("Made")

# Upper bound of writes to the database per job; a cancel flag is seen within the second.
_WRITE_SECONDS = 0.25
_BEAT_SECONDS = 1.0
_EXIT_SECONDS = 5.0  # from the child's last word to its end
_MAX_EVENTS = 20_000  # per attempt: a child gone wild shall not fill the database
_PROGRESS_STEP = 0.01  # of the whole job, between two events


@dataclass(frozen=True)
class Succeeded(Generic[Made]):
    made: Made


@dataclass(frozen=True)
class Failed:
    error: JobError


@dataclass(frozen=True)
class Cancelled:
    """The owner of the job asked for its end."""


@dataclass(frozen=True)
class Fenced:
    """The lease is lost: somebody else works on the row now, or it is gone."""


@dataclass(frozen=True)
class Stopped:
    """The worker is told to stop."""


Ending = Succeeded[Made] | Failed | Cancelled | Fenced | Stopped


class Execution(Generic[Made]):
    """One child and one lease, brought to an ending. The child is gone when `run` returns.

    `read` checks the outcome, a plain dictionary, and raises pydantic's ValidationError.
    """

    def __init__(
        self,
        child: ChildProcess,
        lease: Lease[Made],
        read: Callable[[dict[str, Any]], Made],
        limits: ChildLimits,
        settings: Settings,
        stopping: Event,
    ) -> None:
        self._child = child
        self._lease = lease
        self._read = read
        self._limits = limits
        self._lease_seconds = settings.jobs.lease_seconds
        self._stall_seconds = settings.limits.job_stall_seconds
        self._stopping = stopping
        self._progress = JobProgress()
        self._changed = False
        self._events: list[NewEvent] = []
        self._event_count = 0
        self._reported_fraction = 0.0
        self._kept_at = self._written_at = self._heard_at = time.monotonic()

    def run(self) -> Ending[Made]:
        """Listen and keep the lease until there is an ending."""
        try:
            while True:
                said = self._child.receive(_WRITE_SECONDS)
                if said:
                    self._heard_at = time.monotonic()
                for message in said:
                    if (ending := self._take(message)) is not None:
                        self._flush()
                        return ending
                if self._stopping.is_set():
                    return Stopped()
                if (lost := self._write()) is not None:
                    return lost
                if time.monotonic() - self._heard_at > self._stall_seconds:
                    return Failed(described(self._stalled(), self._progress.stage))
        finally:
            self._child.end()

    def _take(self, message: messages.Message | None) -> Ending[Made] | None:
        """Note what a message says. The ending, if it was the last."""
        match message:
            case messages.Stage(name=name):
                self._progress.enter(name)
                self._changed = True
                self._add(NewEvent("stage", name, data={"stage": name}))
            case messages.Progress(fraction=fraction, message=text):
                self._progress.update(fraction, text)
                self._changed = True
                self._add_progress()
            case messages.Event(type=type_, message=text, level=level, data=data):
                self._add(NewEvent(type_, text, level, data))
            case messages.Warned(code=code, detail=detail):
                self._add(NewEvent("warning", detail, "warning", {"code": code}))
            case messages.Done(outcome=outcome):
                self._child.end(_EXIT_SECONDS)
                try:
                    return Succeeded(self._read(outcome))
                except ValidationError as error:
                    return Failed(internal_error(f"the outcome of the child is malformed: {error}", self._stage))
            case messages.Failed(code=code, title=title, detail=detail, retryable=retryable):
                return Failed(
                    JobError(
                        type=problem_type(code),
                        code=code,
                        title=title,
                        detail=detail,
                        stage=self._stage,
                        retryable=retryable,
                    )
                )
            case messages.Crashed(traceback=traceback):
                self._child.end(_EXIT_SECONDS)
                printed = f"{traceback}\nit wrote:\n{self._child.log_tail}"
                return Failed(internal_error(printed, self._stage))
            case None:
                exit_code = self._child.end(_EXIT_SECONDS)
                return Failed(cause_of_death(exit_code, self._child.log_tail, self._limits, self._stage))
        return None

    def _write(self) -> Cancelled | Fenced | None:
        """Tell the database what is new, or at least that we live, and obey its answer."""
        now = time.monotonic()
        beat_due = now - self._written_at >= min(_BEAT_SECONDS, self._lease_seconds / 3)
        news_due = (self._changed or self._events) and now - self._written_at >= _WRITE_SECONDS
        if not (beat_due or news_due):
            return None
        self._written_at = now
        try:
            beat = self._lease.keep(self._progress if self._changed else None, self._events)
        except SQLAlchemyError as error:
            log.warning("the database does not answer: %s", error)
            # By its clock the lease may have run out, so another worker may have begun: publish nothing.
            return Fenced() if now - self._kept_at > self._lease_seconds else None
        self._kept_at = now
        self._changed = False
        self._events = []
        if not beat.alive:
            return Fenced()
        return Cancelled() if beat.cancel else None

    def _flush(self) -> None:
        """Store the last events before the end. Losing them is no reason to lose the job."""
        if self._events:
            try:
                self._lease.keep(self._progress, self._events)
            except SQLAlchemyError as error:
                log.warning("the last events of a job are lost: %s", error)

    def _add(self, event: NewEvent) -> None:
        self._event_count += 1
        if self._event_count < _MAX_EVENTS:
            self._events.append(event)
        elif self._event_count == _MAX_EVENTS:
            self._events.append(NewEvent("log", f"More than {_MAX_EVENTS} events: the rest is not kept.", "warning"))

    def _add_progress(self) -> None:
        if self._progress.fraction - self._reported_fraction >= _PROGRESS_STEP:
            self._reported_fraction = self._progress.fraction
            data = {"fraction": round(self._progress.fraction, 4), "stage": self._stage}
            self._add(NewEvent("progress", self._progress.message, data=data))

    def _stalled(self) -> TimeLimit:
        return TimeLimit(
            f"The job has reported no progress for {self._stall_seconds:g} s and was ended. "
            "The operator may raise SECATEUR_LIMITS__JOB_STALL_SECONDS."
        )

    @property
    def _stage(self) -> str | None:
        return self._progress.stage
