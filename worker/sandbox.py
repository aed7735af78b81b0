"""Take from a child process what no job needs: the network, other programs, other processes, other people's files.

Mechanisms of Linux that need no privilege: a seccomp filter on system calls and an empty set of capabilities (here),
and Landlock on paths (`worker.landlock`). Where the kernel has none of them, or on another system, the child runs with
resource limits alone and says so. Nothing of this can be undone by the process, or by anything it starts.
"""

import ctypes
import errno
import os
import platform
import struct

__all__ = ["deny_system_calls", "drop_capabilities", "scrub_environment"]

# Everything else, credentials and URLs first, is not passed on. A value that is not there cannot leak.
_KEPT = frozenset({"HOME", "LANG", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "LD_LIBRARY_PATH"})
_KEPT_PREFIXES = ("LC_", "OMP_", "MKL_", "CUDA_", "NVIDIA_", "PYTORCH_")

# Number of each call on x86_64 and on aarch64.
_DENIED = {
    "socket": (41, 198),  # the network, and the Unix socket of the broker
    "io_uring_setup": (425, 425),  # opens sockets without calling socket()
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "unshare": (272, 97),  # a namespace of its own would give it new powers
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "setsid": (112, 157),  # would leave the group that the parent kills
    "setpgid": (109, 154),
}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_RET_ALLOW, _RET_KILL, _RET_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_GREATER_OR_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_X32_BIT = 0x40000000  # the x32 calls of an x86_64 kernel are numbered from here and would slip through


def scrub_environment() -> None:
    """Forget all environment variables except the few that programs need to run."""
    for name in list(os.environ):
        if name not in _KEPT and not name.startswith(_KEPT_PREFIXES):
            del os.environ[name]


def drop_capabilities() -> None:
    """Give up what makes root root, so that it cannot raise its limits again or look into other processes.

    Does nothing for other users, who have no capabilities, and on other systems.
    """
    if platform.system() == "Linux":
        nothing = struct.pack("6I", 0, 0, 0, 0, 0, 0)  # effective, permitted and inheritable, twice 32 bits
        ctypes.CDLL(None).capset(struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0), nothing)


def deny_system_calls() -> bool:
    """Let the denied calls fail with EPERM from now on, in all threads to come. False where that is not possible."""
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in _AUDIT_ARCH:
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions, padding, pointer to them.
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, None, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_), 0, 0) == 0)


def _program(machine: str) -> bytes:
    """Berkeley packet filter over `struct seccomp_data` (number at 0, architecture at 4): see seccomp(2)."""
    numbers = [call[list(_AUDIT_ARCH).index(machine)] for call in _DENIED.values()]
    instructions = [
        (_LOAD, 0, 0, 4),
        (_JUMP_IF_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _RET_KILL),
        (_LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        instructions += [(_JUMP_IF_GREATER_OR_EQUAL, 0, 1, _X32_BIT), (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)]
    for number in numbers:
        instructions += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ERRNO | errno.EPERM)]
    instructions.append((_RETURN, 0, 0, _RET_ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
