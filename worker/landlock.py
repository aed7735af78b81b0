"""Confine a process to a few folders with Landlock (Linux 5.13 and later), without privileges.

Reading is allowed where programs and their libraries live; writing only in the folders given. The database, the other
uploads and the other jobs are then out of reach, whoever owns the files. See landlock(7).
"""

import ctypes
import os
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

__all__ = ["confine"]

# Numbers of the three calls, the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _CREATE_RULESET_VERSION, _PR_SET_NO_NEW_PRIVS = 1, 1, 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TRUNCATE = 1 << 14
# All file system rights by version of the interface; a right that the kernel does not know is refused.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
# Version 6 and later: signals only to processes that are confined likewise, so not to the worker.
_SIGNALS = 1 << 1
# Rights that make sense for a single file.
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/opt", "/dev/random", "/dev/urandom")
_DEVICES = ("/dev/null", "/dev/zero", "/proc/self")


def confine(read: Iterable[Path], write: Iterable[Path]) -> bool:
    """Allow reading in `read` and the system's folders, writing in `write`. False where the kernel has no Landlock.

    Holds for the calling thread and the threads and processes it will start.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION) if sys.platform == "linux" else -1
    if version < 1:
        return False
    rights = _RIGHTS[min(version, 3)]
    attributes = struct.pack("QQQ", rights, 0, _SIGNALS)[: 24 if version >= 6 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for path in {*map(Path, _SYSTEM), *_interpreter(), *read}:
            _allow(libc, ruleset, path, _READ & rights)
        for path in {*map(Path, _DEVICES), *Path("/dev").glob("nvidia*"), *write}:
            _allow(libc, ruleset, path, rights)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _interpreter() -> Iterable[Path]:
    """Where Python finds its modules, this package among them."""
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("stdlib")))
    yield from (Path(entry or ".") for entry in sys.path)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Add one rule; a path that does not exist needs none."""
    try:
        descriptor = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
