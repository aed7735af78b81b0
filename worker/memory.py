"""Memory that is free is given back to the system, which counts what the process holds and not what it uses."""

import ctypes
import gc

__all__ = ["give_back"]

# Only glibc has it; macOS and musl do not.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Collect what only cycles hold (graphs and their nodes) and return free pages. Costs some hundredths of a second.

    glibc keeps freed blocks of up to 32 MiB, and most tensors are smaller: what an earlier stage has used would count
    against the limit of a job for good.
    """
    gc.collect()
    if _trim is not None:
        _trim(0)
