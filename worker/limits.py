"""Resource limits of a child process, set before it looks at a single byte of an upload."""

import math
import os
import resource
from pathlib import Path

from worker.order import ChildLimits

__all__ = ["apply", "compute_threads", "usable_cores", "uses_cuda"]

# Time between SIGXCPU, which the parent can tell from other deaths, and the SIGKILL of the hard limit.
_CPU_GRACE_SECONDS = 5


def apply(limits: ChildLimits) -> None:
    """Bound memory, CPU time and the size of a file; write no core dump.

    Memory is bounded by address space. CUDA reserves hundreds of gigabytes of address space that it never touches, so
    there only the private writable part is bounded. The number of processes is not: RLIMIT_NPROC counts everything that
    the user of the worker runs, threads included, and the sandbox denies starting programs anyway.
    """
    memory = resource.RLIMIT_DATA if uses_cuda(limits.device) else resource.RLIMIT_AS
    _lower(memory, limits.memory_bytes)
    _lower(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + _CPU_GRACE_SECONDS)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(what: int, soft: int, hard: int | None = None) -> None:
    """Set a limit; one that the system has already set lower stays."""
    hard = soft if hard is None else hard
    _, ceiling = resource.getrlimit(what)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(what, (soft, hard))


def uses_cuda(device: str) -> bool:
    """Whether networks will run on a GPU; asked of the file system, because CUDA must not be touched before a fork."""
    return device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists())


def compute_threads(configured: int, concurrency: int) -> int:
    """Compute threads of one job: as configured, or an equal share of the cores."""
    return configured or max(1, usable_cores() // concurrency)


def usable_cores() -> int:
    """Cores this process may use: its affinity, less where a container's quota allows less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
