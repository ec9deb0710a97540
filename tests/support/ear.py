"""The listener of the tests: it remembers what it was told."""

from pipeline.reporting.run_report import ReportEntry, RunReport


class Ear:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.entries: list[ReportEntry] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, waiting: int) -> None: ...
    def answering(self, document_id: str, text: str) -> None: ...

    def finished(self, entry: ReportEntry) -> None:
        self.entries.append(entry)

    def ended(self, run_report: RunReport) -> None: ...
