"""The Celery worker of one queue: threads that wait for child processes. It never imports torch."""

import logging
import threading
import warnings
from typing import Any

from celery import signals
from celery.apps.worker import Worker
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning

from service.queue import Queue, celery_app
from worker.process import cool_down, warm_up
from worker.pulse import beat_until_stopped
from worker.tasks import register
from worker.workplace import Workplace

__all__ = ["work"]

log = logging.getLogger(__name__)

# Reading uploads is short and light next to training; one at a time keeps it so.
_INSPECTIONS_AT_A_TIME = 1
_TURN_SECONDS = 0.1


def work(place: Workplace, queue: Queue) -> int:
    """Work until told to stop. SIGTERM and SIGINT hand running work back to the queue. Returns the exit code."""
    warnings.simplefilter("ignore", SecurityWarning)  # about root, because of pickled messages; ours are JSON
    warnings.simplefilter("ignore", CPendingDeprecationWarning)  # about late acknowledgement; ours is early
    logging.getLogger("celery").setLevel(logging.WARNING)
    app = celery_app(place.settings)
    register(app, place)
    slots = place.settings.jobs.concurrency if queue is Queue.JOBS else _INSPECTIONS_AT_A_TIME

    @signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def _stop(**_: Any) -> None:
        place.stopping.set()

    @signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def _leave_logging_alone(**_: Any) -> None:
        """Celery configures logging unless somebody listens to this signal."""

    threading.Thread(target=_warm_up, args=[place.stopping], name="warm-up", daemon=True).start()
    pulse = threading.Thread(target=beat_until_stopped, args=(place, queue, slots), name="pulse", daemon=True)
    pulse.start()
    # Threads, because a fork of a process with threads of its own may hang; each of them only waits for a child.
    worker = app.Worker(
        hostname=f"{queue.value}@{place.name}",
        pool="threads",
        concurrency=slots,
        queues=[queue.value],
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    assert isinstance(worker, Worker)
    # Celery does not ask for the next message when a thread becomes free, only when its loop turns: once a second.
    worker.hub.call_repeatedly(_TURN_SECONDS, lambda: None)
    worker.start()
    place.stopping.set()
    pulse.join()
    cool_down()
    return int(worker.exitcode or 0)


def _warm_up(stopping: threading.Event) -> None:
    try:
        warm_up()
    except EOFError:  # the fork server is gone: ended by us, or its imports fail, as those of every job will
        if not stopping.is_set():
            log.exception("the fork server did not start")
        return
    log.info("ready: the next job starts from a process that has imported torch")
