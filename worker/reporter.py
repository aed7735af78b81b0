"""How a stage speaks while it works."""

from typing import Any, Protocol

from service.contract.resources import EventLevel

__all__ = ["Reporter", "Silent"]


class Reporter(Protocol):
    """The stages' way out. In a job every call becomes an event, and a sign of life for the watchdog."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, fraction: float, message: str) -> None:
        """`fraction` of the current stage is done, from 0 to 1."""

    def event(self, type_: str, message: str, data: dict[str, Any] | None = None, level: EventLevel = "info") -> None:
        """Something worth keeping: `metrics`, `log`."""

    def warn(self, code: str, detail: str) -> None:
        """Something the owner of the job should know; ends up in `warnings` and in the report."""


class Silent:
    """A reporter for callers that do not listen."""

    def stage(self, name: str) -> None: ...

    def progress(self, fraction: float, message: str) -> None: ...

    def event(
        self, type_: str, message: str, data: dict[str, Any] | None = None, level: EventLevel = "info"
    ) -> None: ...

    def warn(self, code: str, detail: str) -> None: ...
