"""Numbers for Prometheus. A registry per application: two of them in one process do not mix."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.queue import Doorbell, Queue
from service.store import jobs, uploads, workers
from service.store.database import Database

__all__ = ["WORKER_SEEN_SECONDS", "Metrics"]

# Workers beat every few seconds; three missed beats and some slack for a busy host.
WORKER_SEEN_SECONDS = 30.0


class Metrics:
    """Requests are counted as they happen; the state of the service is read when Prometheus asks."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "secateur_http_requests",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "secateur_http_request_seconds",
            "Time until the last byte of the answer was handed over.",
            ("method", "route"),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=self._registry,
        )
        self._received = Counter(
            "secateur_upload_bytes", "Bytes of stored uploads.", ("kind",), registry=self._registry
        )
        self._registry.register(_State(database, doorbell))

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. `route` is the template, so that ids do not become labels."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def received(self, kind: str, size_bytes: int) -> None:
        """Count the bytes of an upload."""
        self._received.labels(kind).inc(size_bytes)

    def exposition(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)


class _State(Collector):
    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell

    def describe(self) -> list[Metric]:
        """Nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        with self._database.read() as c:
            by_status = jobs.count_by_status(c)
            oldest = jobs.oldest_queued_seconds(c)
            stored = uploads.count_live(c)
            seen = workers.seen_within(c, WORKER_SEEN_SECONDS)
        states = GaugeMetricFamily("secateur_jobs", "Jobs by status.", labels=["status"])
        for status, count in by_status.items():
            states.add_metric([status], count)
        yield states
        yield GaugeMetricFamily(
            "secateur_jobs_oldest_queued_seconds", "Age of the job that waits longest.", value=oldest
        )
        counts = GaugeMetricFamily("secateur_uploads", "Uploads.", labels=["kind", "status"])
        sizes = GaugeMetricFamily("secateur_uploads_stored_bytes", "Size of uploads.", labels=["kind", "status"])
        for labels, (count, size) in stored.items():
            counts.add_metric(labels, count)
            sizes.add_metric(labels, size)
        yield counts
        yield sizes
        yield GaugeMetricFamily("secateur_workers", "Workers heard of lately.", value=seen)
        depths = GaugeMetricFamily("secateur_queue_depth", "Messages in the broker.", labels=["queue"])
        for queue in Queue:
            depth = self._doorbell.depth(queue)
            if depth is not None:
                depths.add_metric([queue.value], depth)
        yield depths
