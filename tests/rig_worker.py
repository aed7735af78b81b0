"""`python -m tests.rig_worker jobs`: a worker process whose children do what `tests.rig_work` says."""

import sys


def main() -> int:
    # Imported here, because the children import this module too.
    from service.lifeline import watch_lifeline
    from service.logs import configure_logs
    from service.queue import Queue
    from service.settings import Settings
    from worker import child
    from worker.celery_app import work
    from worker.sandbox import scrub_environment
    from worker.workplace import Workplace

    child.PRELOADED[:] = ["worker.child", "tests.rig_work"]  # without torch the server starts in no time
    watch_lifeline()
    settings = Settings()
    configure_logs(settings.log)
    scrub_environment()
    return work(Workplace(settings, "tests.rig_work:run", "tests.rig_work:inspect"), Queue(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
