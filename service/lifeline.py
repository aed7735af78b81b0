"""A process that must not outlive the one that started it.

The parent holds the other end of the child's standard input. When the parent is gone, however it went, the kernel
closes that end, and the child stops in order. Unlike PR_SET_PDEATHSIG this works on every system and does not depend on
the thread that started the child.
"""

import os
import signal
import threading
import time

__all__ = ["LIFELINE", "watch_lifeline"]

# Set by the parent: without it, standard input is a terminal, or nothing, and ends when it likes.
LIFELINE = "SECATEUR_LIFELINE"

_STOP_SECONDS = 15.0


def watch_lifeline() -> None:
    """Send this process SIGTERM when its parent is gone, if it was started by `service.family`."""
    if os.environ.pop(LIFELINE, None):
        threading.Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_SECONDS)
    os._exit(1)
