"""Jobs: from the queue to one end, whatever dies on the way.

    queued ──claim──▶ running ──finish──▶ succeeded | failed
      │ ▲               │  │
      │ └─ hand_back ───┤  └─request_cancel─▶ cancelling ──finish──▶ cancelled
      │    dead lease   │                         └── dead lease ──▶ cancelled
      └─request_cancel──┼──▶ cancelled
                        └── attempts used up ──▶ failed (worker-lost)

Whoever works on a job has claimed it with one UPDATE, which counted `attempt` up. That number is the fencing token:
every later write names it, and touches no row once the job has been taken away. Functions take a `Connection` inside
`Database.write()` (or `.read()` for the reading ones) and do not commit.
"""

from service.store.jobs.events import NewEvent, append_events, event_page
from service.store.jobs.leases import (
    Beat,
    Claim,
    Outcome,
    StoredFile,
    claim,
    finish_cancelled,
    finish_failed,
    finish_succeeded,
    hand_back,
    heartbeat,
)
from service.store.jobs.recovery import Recovered, count_queued, mark_enqueued, recover_expired, unrung
from service.store.jobs.requests import create, request_cancel
from service.store.jobs.rows import (
    StoredArtifact,
    artifact,
    artifact_page,
    count_by_status,
    get,
    get_versioned,
    list_page,
    oldest_queued_seconds,
)

__all__ = [
    "Beat",
    "Claim",
    "NewEvent",
    "Outcome",
    "Recovered",
    "StoredArtifact",
    "StoredFile",
    "append_events",
    "artifact",
    "artifact_page",
    "claim",
    "count_by_status",
    "count_queued",
    "create",
    "event_page",
    "finish_cancelled",
    "finish_failed",
    "finish_succeeded",
    "get",
    "get_versioned",
    "hand_back",
    "heartbeat",
    "list_page",
    "mark_enqueued",
    "oldest_queued_seconds",
    "recover_expired",
    "request_cancel",
    "unrung",
]
