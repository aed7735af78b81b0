"""How a stage speaks while it works."""

from typing import Any, Protocol

from service.contract.resources import EventLevel, Notice

__all__ = ["Portion", "Recording", "Reporter", "Silent"]


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


class Portion:
    """A reporter for a piece of a stage: its progress counts from `start` and for `share` of the whole."""

    def __init__(self, whole: Reporter, start: float, share: float) -> None:
        self._whole = whole
        self._start = start
        self._share = share

    def stage(self, name: str) -> None:
        self._whole.stage(name)

    def progress(self, fraction: float, message: str) -> None:
        self._whole.progress(self._start + self._share * fraction, message)

    def event(self, type_: str, message: str, data: dict[str, Any] | None = None, level: EventLevel = "info") -> None:
        self._whole.event(type_, message, data, level)

    def warn(self, code: str, detail: str) -> None:
        self._whole.warn(code, detail)


class Recording(Portion):
    """Passes everything on and keeps the warnings, each once, for the report."""

    def __init__(self, whole: Reporter) -> None:
        super().__init__(whole, 0.0, 1.0)
        self.warnings: list[Notice] = []

    def warn(self, code: str, detail: str) -> None:
        notice = Notice(code=code, detail=detail)
        if notice not in self.warnings:
            self.warnings.append(notice)
            super().warn(code, detail)
