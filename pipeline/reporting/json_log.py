"""A run as JSON lines on stderr, one object an event, for machines that gather logs (`log: json`)."""

import json
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from pipeline.core.errors import ScanmillError
from pipeline.reporting.run_report import ReportEntry, RunReport, worst

NOT_SAID = ("question", "answer", "moved_to")


class JsonLog:
    """In the place of console.Screen. Every line has `time`, `event` and its facts.

    The events: note, started, document (as in the account, without what was asked and answered, and before it moved),
    ended, report, and stopped: an error ended the run.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, ScanmillError):
            self._line("stopped", error=type(error).__name__, text=str(error), exit_code=error.exit_code)
            error.logged = True

    def note(self, text: str) -> None:
        self._line("note", text=text)

    def started(self, waiting: int) -> None:
        self._line("started", waiting=waiting)

    def answering(self, document_id: str, text: str) -> None:
        pass

    def finished(self, entry: ReportEntry) -> None:
        facts = {key: value for key, value in entry.to_dict().items() if key not in NOT_SAID}
        self._line("document", status=worst(entry), **facts)

    def ended(self, run_report: RunReport) -> None:
        self._line("ended", counts=run_report.summary(), jobs=run_report.by_job(), faults=run_report.faults())

    def report(self, run_report: RunReport, root: Path) -> None:
        """The last line: where the account lies."""
        self._line("report", root=str(root), page=str(run_report.written) if run_report.written else None)

    def _line(self, event: str, **facts: Any) -> None:
        told = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), "event": event, **facts}
        # ASCII, so that whatever a file is called, a line is a line
        self._out.write(json.dumps(told, default=str) + "\n")
        self._out.flush()
