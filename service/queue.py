"""The doorbell: a message says "look at this row", and nothing is lost when it does not arrive.

The row in the database is the truth. A message carries an id, is acknowledged as soon as it is read, and may come twice
or not at all: claiming the row tells who works on it, and the reconciler rings again. Jobs and inspections have a queue
each, and a Celery worker process each, so that reading an upload never waits behind hours of training.
"""

from enum import StrEnum
from functools import cached_property

from celery import Celery
from kombu.entity import Queue as KombuQueue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.settings import Settings

__all__ = ["INSPECT_UPLOAD", "RUN_JOB", "Doorbell", "Queue", "celery_app", "redis_client"]

RUN_JOB = "secateur.run_job"
INSPECT_UPLOAD = "secateur.inspect_upload"

# The API answers a client while it rings; the reconciler repairs what this misses.
_SENDER_TIMEOUT_SECONDS = 1.0


class Queue(StrEnum):
    JOBS = "jobs"
    INSPECTIONS = "inspections"


def celery_app(settings: Settings, *, sender: bool = False) -> Celery:
    """Celery as both sides configure it. A `sender` gives up at once where a worker would wait for the broker."""
    app = Celery("secateur", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_queues=[KombuQueue(queue.value) for queue in Queue],  # type: ignore[no-untyped-call]  # kombu has few types
        task_default_queue=Queue.JOBS.value,
        task_create_missing_queues=False,
        task_routes={
            RUN_JOB: {"queue": Queue.JOBS.value},
            INSPECT_UPLOAD: {"queue": Queue.INSPECTIONS.value},
        },
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,  # the row has the result; there is no result backend
        task_acks_late=False,  # a redelivery after the visibility timeout would fight the lease
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a job reserved behind a long one could run elsewhere
        worker_enable_remote_control=True,  # its connection notices a restarted broker; without it workers wedge
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 86_400,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    if sender:
        app.conf.update(
            broker_connection_timeout=_SENDER_TIMEOUT_SECONDS,
            broker_transport_options={
                "socket_timeout": _SENDER_TIMEOUT_SECONDS,
                "socket_connect_timeout": _SENDER_TIMEOUT_SECONDS,
                "max_retries": 0,
            },
        )
    return app


def redis_client(settings: Settings) -> Redis:
    """A plain client of the broker that fails within a second."""
    url = settings.broker_url.replace("redis+socket://", "unix://", 1)
    client: Redis = Redis.from_url(
        url,
        socket_timeout=_SENDER_TIMEOUT_SECONDS,
        socket_connect_timeout=_SENDER_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    return client


class Doorbell:
    """Rings for work, and looks how many rings wait. Safe to share between threads; never raises for a dead broker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def ring_job(self, job_id: str) -> bool:
        """Say that a job waits. False when the broker did not take it; the reconciler will ring again."""
        return self._ring(RUN_JOB, job_id)

    def ring_inspection(self, upload_id: str) -> bool:
        """Say that an upload waits to be inspected. False as for `ring_job`."""
        return self._ring(INSPECT_UPLOAD, upload_id)

    def ping(self) -> bool:
        """Whether the broker answers."""
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def depth(self, queue: Queue = Queue.JOBS) -> int | None:
        """Messages that wait in a queue. None when the broker does not answer.

        Those that a worker took and has not acknowledged are left out: with early acknowledgement that lasts for
        milliseconds, unless the worker was killed right then; and then they wait for nobody.
        """
        try:
            return self._redis.llen(queue.value)
        except RedisError:
            return None

    def _ring(self, task: str, row_id: str) -> bool:
        try:
            self._celery.send_task(task, args=[row_id], retry=False)
        except OperationalError:
            return False
        return True

    @cached_property
    def _celery(self) -> Celery:
        return celery_app(self._settings, sender=True)

    @cached_property
    def _redis(self) -> Redis:
        return redis_client(self._settings)
