"""What a message sets off: claim the row, carry it out in a child, write down how it ended."""

import logging
import shutil
import time
import traceback
from collections.abc import Callable
from typing import Any

from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from service.contract.resources import TERMINAL_STATES, DatasetProfile, JobState, ModelProfile
from service.folders import JobFolder, inspection_folder
from service.queue import INSPECT_UPLOAD, RUN_JOB
from service.store import jobs, uploads
from worker.autopsy import internal_error
from worker.execution import Cancelled, Ending, Execution, Failed, Fenced, Made, Stopped, Succeeded
from worker.lease import InspectionLease, JobLease, Lease
from worker.order import InspectOrder, JobOrder, JobOutcome
from worker.process import ChildProcess
from worker.publication import NotPublishable, secure
from worker.workplace import Workplace

__all__ = ["inspect_upload", "register", "run_job"]

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5


def register(app: Celery, place: Workplace) -> None:
    """Tell Celery the two tasks."""

    @app.task(name=RUN_JOB)  # type: ignore[untyped-decorator]  # Celery has no types
    def _run_job(job_id: str) -> None:
        run_job(place, job_id)

    @app.task(name=INSPECT_UPLOAD)  # type: ignore[untyped-decorator]  # Celery has no types
    def _inspect_upload(upload_id: str) -> None:
        inspect_upload(place, upload_id)


def run_job(place: Workplace, job_id: str) -> None:
    """Run a job if it is there to be taken; the message may be late, doubled, or about a job that was cancelled."""
    seconds = place.settings.jobs.lease_seconds
    with place.occupied():
        if place.stopping.is_set():
            return
        with place.database.write() as c:
            claim = jobs.claim(c, job_id, place.name, seconds)
        if claim is None:
            return
        log.info("job %s: attempt %d begins", job_id, claim.attempt)
        folder = JobFolder(place.settings.data_dir, job_id)
        lease = JobLease(place.database, job_id, claim.attempt, seconds)
        try:
            ending = _job(place, claim, folder, lease)
        except Exception:  # noqa: BLE001, a job that was claimed must come to an end
            ending = Failed(internal_error(traceback.format_exc(), None))
        _settle(lease, ending, seconds)
        log.info("job %s: attempt %d ended: %s", job_id, claim.attempt, _in_words(ending))
        _tidy(place, folder, claim.attempt)
        if isinstance(ending, Stopped):
            place.doorbell.ring_job(job_id)


def inspect_upload(place: Workplace, upload_id: str) -> None:
    """Inspect an upload if it still waits for that."""
    seconds = place.settings.jobs.lease_seconds
    with place.occupied():
        if place.stopping.is_set():
            return
        with place.database.write() as c:
            claim = uploads.claim_inspection(c, upload_id, place.name, seconds)
        if claim is None:
            return
        lease = InspectionLease(place.database, upload_id, claim.attempt, seconds)
        try:
            ending = _inspection(place, claim, lease)
        except Exception:  # noqa: BLE001, an inspection that was claimed must come to an end
            ending = Failed(internal_error(traceback.format_exc(), None))
        _settle(lease, ending, seconds)
        log.info("upload %s: inspected: %s", upload_id, _in_words(ending))
        if isinstance(ending, Stopped):
            place.doorbell.ring_inspection(upload_id)


def _job(place: Workplace, claim: jobs.Claim, folder: JobFolder, lease: JobLease) -> Ending[JobOutcome]:
    folder.prepare(claim.attempt)
    order = JobOrder(
        job_id=claim.job_id,
        attempt=claim.attempt,
        model=place.upload(claim.model.id, claim.model.name, claim.model.sha256),
        dataset=place.upload(claim.dataset.id, claim.dataset.name, claim.dataset.sha256) if claim.dataset else None,
        recipe=claim.recipe,
        work_dir=folder.work,
        output_dir=folder.attempt(claim.attempt),
        limits=place.limits,
    )
    child = ChildProcess(place.job_work, order, folder.scratch)
    ending = Execution(child, lease, JobOutcome.model_validate, order.limits, place.settings, place.stopping).run()
    if isinstance(ending, Succeeded):
        try:
            secure(order.output_dir, ending.made.artifacts)
        except NotPublishable as error:
            return Failed(internal_error(f"{claim.job_id}: {error}", "publish"))
    return ending


def _inspection(
    place: Workplace, claim: uploads.InspectionClaim, lease: InspectionLease
) -> Ending[ModelProfile | DatasetProfile]:
    upload = place.upload(claim.upload_id, claim.name, claim.sha256)
    order = InspectOrder(kind=claim.kind, upload=upload, limits=place.limits)
    scratch = inspection_folder(place.settings.data_dir, claim.upload_id)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        child = ChildProcess(place.inspection_work, order, scratch)
        read: Callable[[Any], ModelProfile | DatasetProfile]
        read = ModelProfile.model_validate if claim.kind == "model" else DatasetProfile.model_validate
        return Execution(child, lease, read, order.limits, place.settings, place.stopping).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _settle(lease: Lease[Made], ending: Ending[Made], lease_seconds: float) -> None:
    """Write the ending down, for as long as the lease lasts if the database does not answer."""
    write: Callable[[], bool]
    match ending:
        case Succeeded(made=made):

            def write() -> bool:
                return lease.succeed(made)

        case Failed(error=error):

            def write() -> bool:
                return lease.fail(error)

        case Cancelled():
            write = lease.cancel
        case Stopped():
            write = lease.hand_back
        case Fenced():
            return
    deadline = time.monotonic() + lease_seconds
    while True:
        try:
            write()
            return
        except SQLAlchemyError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the database does not answer: %s", error)
            time.sleep(_RETRY_SECONDS)


def _tidy(place: Workplace, folder: JobFolder, attempt: int) -> None:
    """Remove the files nobody needs any more. The row decides, not what this attempt believes about itself."""
    with place.database.read() as c:
        job = jobs.get(c, folder.job_id)
    if job is None or job.status not in TERMINAL_STATES:
        folder.discard(attempt)
    else:
        folder.tidy(winner=job.attempt if job.status == JobState.SUCCEEDED else None)


def _in_words(ending: Ending[Made]) -> str:
    return f"failed ({ending.error.code})" if isinstance(ending, Failed) else type(ending).__name__.lower()
