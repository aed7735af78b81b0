"""Where the files of a job are, and which of them stay.

jobs/<id>/attempt-<n>/   what attempt n makes; the one that wins is published, the others are removed
jobs/<id>/work/          checkpoints: survive an attempt, go with the job's end
jobs/<id>/scratch/       temporary files of the process
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["JobFolder", "inspection_folder", "untidy_jobs"]


@dataclass(frozen=True)
class JobFolder:
    data_dir: Path
    job_id: str

    @property
    def path(self) -> Path:
        return self.data_dir.absolute() / "jobs" / self.job_id

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    def attempt(self, number: int) -> Path:
        return self.path / f"attempt-{number}"

    def prepare(self, number: int) -> None:
        """Make the folders of an attempt: empty ones, except for the checkpoints of earlier attempts."""
        self.work.mkdir(parents=True, exist_ok=True)
        for folder in (self.scratch, self.attempt(number)):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def discard(self, number: int) -> None:
        """Remove what an attempt made that did not win."""
        shutil.rmtree(self.attempt(number), ignore_errors=True)

    def tidy(self, winner: int | None) -> None:
        """The job has ended: remove everything except what the winner made. Harmless if repeated.

        `work` goes last: as long as it is there, the job is not tidy.
        """
        if not self.path.is_dir():
            return
        for folder in self.path.iterdir():
            if folder != self.work and (winner is None or folder != self.attempt(winner)):
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)
        if winner is None:
            with contextlib.suppress(OSError):  # another process was faster
                self.path.rmdir()


def untidy_jobs(data_dir: Path) -> Iterator[JobFolder]:
    """Jobs that have not ended, and those whose worker died between the end and the tidying."""
    for work in data_dir.absolute().glob("jobs/*/work"):
        yield JobFolder(data_dir, work.parent.name)


def inspection_folder(data_dir: Path, upload_id: str) -> Path:
    """Temporary files of the process that inspects an upload."""
    return data_dir.absolute() / "inspections" / upload_id
