"""What killed a child: from an exit code to an exact error."""

import logging
import secrets
import signal

from service.contract.resources import JobError
from service.errors import problem_type
from worker.child import out_of_memory
from worker.errors import JobFailed, OutOfMemory, TimeLimit
from worker.order import ChildLimits

__all__ = ["cause_of_death", "described", "internal_error"]

log = logging.getLogger(__name__)


def cause_of_death(exit_code: int | None, printed: str, limits: ChildLimits, stage: str | None) -> JobError:
    """The error of a child that ended without a last word. `printed` is the end of what it wrote."""
    if exit_code == -signal.SIGXCPU:
        return described(TimeLimit(f"The job used up its {limits.cpu_seconds} s of CPU time."), stage)
    if exit_code == -signal.SIGKILL:
        killed = OutOfMemory(
            "The process of the job was killed by signal 9 (SIGKILL); it is likely that the host ran out of memory: "
            f"limit {limits.memory_bytes / 2**30:.3g} GiB. Use a smaller batch size or a smaller model."
        )
        return described(killed, stage)
    if "MemoryError" in printed or "bad_alloc" in printed:
        return described(out_of_memory(limits.memory_bytes), stage)
    return internal_error(f"the child {_ended(exit_code)} without a last word; it wrote:\n{printed}", stage)


def described(failure: JobFailed, stage: str | None) -> JobError:
    """A failure as the API shows it."""
    return JobError(
        type=problem_type(failure.code),
        code=failure.code,
        title=failure.title,
        detail=failure.detail,
        stage=stage,
        retryable=failure.retryable,
    )


def internal_error(what: str, stage: str | None) -> JobError:
    """An error of ours. `what` goes to the log, under a reference that the client can quote."""
    reference = secrets.token_hex(4)
    log.error("internal error %s in stage %s: %s", reference, stage, what)
    return JobError(
        type=problem_type("internal-error"),
        code="internal-error",
        title="Something went wrong on our side",
        detail=f"Tell the operator of this service the reference {reference}; the log of the worker has the details.",
        stage=stage,
        retryable=True,
    )


def _ended(exit_code: int | None) -> str:
    if exit_code is None:
        return "never started"
    if exit_code < 0:
        return f"was killed by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    return f"ended with exit code {exit_code}"
