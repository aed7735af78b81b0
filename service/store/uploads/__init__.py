"""Uploads: immutable models and datasets, told apart by kind and digest.

A new upload is `inspecting` until a worker has read it and made it `ready` or `rejected`. Inspections are leased like
jobs: claim, heartbeat, finish, each fenced by `attempt`. Functions take a `Connection` and do not commit.
"""

from service.store.uploads.inspections import (
    InspectionBeat,
    InspectionClaim,
    RecoveredInspections,
    claim_inspection,
    count_inspecting,
    finish_inspection,
    hand_back_inspection,
    heartbeat_inspection,
    mark_inspections_enqueued,
    recover_expired_inspections,
    reject,
    unrung_inspections,
)
from service.store.uploads.rows import Added, Deleted, Kind, add, count_live, delete, get, hold, list_page, lock_digest

__all__ = [
    "Added",
    "Deleted",
    "InspectionBeat",
    "InspectionClaim",
    "Kind",
    "RecoveredInspections",
    "add",
    "claim_inspection",
    "count_inspecting",
    "count_live",
    "delete",
    "finish_inspection",
    "get",
    "hand_back_inspection",
    "heartbeat_inspection",
    "hold",
    "list_page",
    "lock_digest",
    "mark_inspections_enqueued",
    "recover_expired_inspections",
    "reject",
    "unrung_inspections",
]
