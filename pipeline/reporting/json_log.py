"""Write the events of a run as JSON lines to stderr, for log collectors (`log: json`)."""

import json
import sys
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from pipeline.core.errors import ScanmillError
from pipeline.reporting.run_report import ReportEntry, RunReport, document_status

OMITTED = ("question", "answer", "moved_to")


class JsonLog:
    """Replaces console.Screen. Every line has `time`, `event` and the values of the event.

    The events: note, started, document (as in the run report, without question, answer and moved_to), ended, report,
    and stopped (an error ended the run).
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
        facts = {key: value for key, value in entry.to_dict().items() if key not in OMITTED}
        self._line("document", status=document_status(entry), **facts)

    def ended(self, run_report: RunReport) -> None:
        self._line("ended", counts=run_report.summary(), jobs=run_report.by_job(), faults=run_report.faults())

    def report(self, run_report: RunReport, root: Path) -> None:
        """Write the last line: the path of the run report."""
        self._line("report", root=str(root), page=str(run_report.written) if run_report.written else None)

    def _line(self, event: str, **facts: Any) -> None:
        line = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds"), "event": event, **facts}
        # ASCII only: file names cannot break lines
        self._out.write(json.dumps(line, default=str) + "\n")
        self._out.flush()
