"""`python -m worker`: take jobs and inspections from their queues until told to stop.

One process per queue: reading an upload never waits behind hours of training.
"""

import argparse
import os
import sys

from service.queue import Queue

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 after an orderly stop."""
    parser = argparse.ArgumentParser(
        prog="python -m worker",
        description="Take work until told to stop (SIGTERM, Ctrl-C); running jobs are then handed back.",
        epilog="Settings come from the environment (SECATEUR_…, REDIS_URL, DATABASE_URL): see docs/settings.md.",
    )
    parser.add_argument(
        "--queue",
        choices=[queue.value for queue in Queue],
        help="work on this queue alone; by default a process for each queue is started and kept alive",
    )
    queue = parser.parse_args(arguments).queue
    return _keep_both_alive() if queue is None else _work(Queue(queue))


def _keep_both_alive() -> int:
    from service.family import Family, PythonProcess
    from service.settings import Settings

    prefix = Settings().log.format == "text"
    members = [PythonProcess(queue.value, ["worker", "--queue", queue.value], prefix=prefix) for queue in Queue]
    Family(members, lambda line: print(line, flush=True)).run()  # noqa: T201, before there is a log
    return 0


def _work(queue: Queue) -> int:
    from service.lifeline import watch_lifeline
    from service.logs import configure_logs
    from service.settings import Settings
    from worker.celery_app import work
    from worker.sandbox import scrub_environment
    from worker.workplace import Workplace

    watch_lifeline()
    settings = Settings()
    configure_logs(settings.log)
    scrub_environment()  # the children inherit what is left
    # Threads of torch wait for each other without spinning. Beside one busy process, two spinning threads took two to
    # four times as long to train, in wall time and in CPU time; on an idle machine spinning gains a quarter at most.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return work(Workplace(settings), queue)


if __name__ == "__main__":
    sys.exit(main())
