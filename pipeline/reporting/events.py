"""Run event listeners: the interface, and a fan-out to several of them."""

from typing import Protocol

from pipeline.reporting.run_report import ReportEntry, RunReport


class Listener(Protocol):
    """Receives the events of a run. `answering` gets partial answers; `waiting` is the number of documents."""

    def note(self, text: str) -> None: ...
    def started(self, waiting: int) -> None: ...
    def answering(self, document_id: str, text: str) -> None: ...
    def finished(self, entry: ReportEntry) -> None: ...
    def ended(self, run_report: RunReport) -> None: ...


class EventFanout:
    """Passes every event to several listeners, in order."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def note(self, text: str) -> None:
        for each in self._listeners:
            each.note(text)

    def started(self, waiting: int) -> None:
        for each in self._listeners:
            each.started(waiting)

    def answering(self, document_id: str, text: str) -> None:
        for each in self._listeners:
            each.answering(document_id, text)

    def finished(self, entry: ReportEntry) -> None:
        for each in self._listeners:
            each.finished(entry)

    def ended(self, run_report: RunReport) -> None:
        for each in self._listeners:
            each.ended(run_report)
