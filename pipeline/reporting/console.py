"""Terminal output: the progress of a run on stderr, results on stdout."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipeline.core.safe_text import sanitize
from pipeline.core.types import Record
from pipeline.reporting.events import Listener
from pipeline.reporting.run_report import ReportEntry, RunReport, document_status
from pipeline.schema.fields import is_empty
from pipeline.schema.job import Job

MAX_FAULTS = 20  # of a run that are listed
MAX_COLUMN_WIDTH = 24  # in a table of records
PLAIN_LINE_S = 30.0  # between two lines of counts, if the output is not a terminal
STATUS_STYLE = {"ok": "green", "review": "yellow", "failed": "red", "duplicate": "dim", "given back": "dim"}


def safe(text: object) -> str:
    """Text from a document or a file name, escaped for a terminal: no control characters, no markup."""
    return escape(sanitize(text))


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 page, 2 pages."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Screen:
    """The progress of a run: a bar on a terminal, else plain lines. One line for each document that needs review."""

    def __init__(self, quiet: bool = False) -> None:
        self.out = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: Any = None
        self._total = self._done = 0
        self._counts: dict[str, int] = {}
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def note(self, text: str) -> None:
        self.out.print(safe(text))

    def started(self, waiting: int) -> None:
        self._total, self._done, self._counts, self._last = waiting, 0, {}, time.monotonic()
        if waiting and self.out.is_terminal and self._bar is None:
            self._bar = Progress(
                SpinnerColumn(),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
                console=self.out,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=waiting)

    def answering(self, document_id: str, text: str) -> None:
        pass

    def finished(self, entry: ReportEntry) -> None:
        self._done += 1
        status = document_status(entry)
        self._counts[status] = self._counts.get(status, 0) + 1
        if entry.needs_review:
            reason = _reason(entry)
            self.out.print(
                f"[{STATUS_STYLE.get(status, '')}]{status:7}[/] {safe(entry.inbox)}/{safe(entry.name)}{reason}"
            )
        if self._bar:
            self._bar.update(
                self._task, completed=self._done, total=max(self._total, self._done), description=safe(entry.name)
            )
        elif time.monotonic() - self._last > PLAIN_LINE_S:
            self._last = time.monotonic()
            counts = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            self.out.print(f"{self._done} of {max(self._total, self._done)}: {counts}")

    def ended(self, run_report: RunReport) -> None:
        """Close the progress bar; `report` prints the result."""
        self._close_bar()

    def report(self, run_report: RunReport, root: Path) -> None:
        """Print the last lines of a run: counts, faults, and the path of the report."""
        out = self.out
        counts = run_report.summary()
        if counts["taken"]:
            self._print_counts(counts)
        elif not run_report.stuck:
            out.print(f"No {'other ' if run_report.left else ''}documents in {safe(root / 'inbox')}.")
        faults = run_report.faults()
        for fault in faults[:MAX_FAULTS]:
            out.print(f"[red]{safe(fault)}[/]")
        if len(faults) > MAX_FAULTS:
            out.print(f"[red]… and {len(faults) - MAX_FAULTS} more in the JSON file of the report.[/]")
        if run_report.written:
            out.print(f"report: {safe(run_report.written)}")

    def _print_counts(self, counts: Mapping[str, Any]) -> None:
        outcomes = [key for key in ("done", "failed", "duplicate", "given_back") if counts[key]]
        ends = ", ".join(f"{counts[key]} {key.replace('_', ' ')}" for key in outcomes)
        of_records = ", ".join(f"{count} {status}" for status, count in counts["records"].items() if count)
        self.out.print(
            f"{counted(counts['taken'], 'document')}: {ends or 'none ended'}. Records: {of_records or 'none'}. "
            f"{counted(counts['pages'], 'page')} in {counts['seconds']:.1f} s."
        )


class ConsoleReporter(logging.Handler):
    """A log handler that prints log lines as notes."""

    def __init__(self, screen: Listener) -> None:
        super().__init__(logging.INFO)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.note(record.getMessage())


def _reason(entry: ReportEntry) -> str:
    if entry.error:
        code, detail = entry.error
        return f"  {code}: {safe(detail)}" if detail else f"  {code}"
    shown = [
        f"{safe(issue.path)}: {safe(issue.message)}" if issue.path else safe(issue.message)
        for _, issue in entry.issues[:2]
    ]
    more = entry.issues_total - len(shown)
    return "  " + "; ".join(shown) + (f" (+{more})" if more > 0 else "")


def show_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "", right: Sequence[str] = ()
) -> None:
    """Print a table to stdout."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(safe(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    stdout().print(table)


def stdout() -> Console:
    """A console on stdout. If it is not a terminal, the width is 160, so that files do not wrap at 80."""
    out = Console(highlight=False, soft_wrap=False)
    if not out.is_terminal:
        out.width = 160
    return out


def cell(value: object) -> str:
    """A value as rich markup, safe to print."""
    if value is None:
        return "[dim]–[/]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value in STATUS_STYLE:
        return f"[{STATUS_STYLE[value]}]{value}[/]"
    if isinstance(value, Mapping):
        return "\n".join(cell(each) for each in value.values() if each is not None) or cell(None)
    if isinstance(value, list | tuple):
        rows = value and isinstance(value[0], Mapping)
        return (
            f"{len(value)} {'row' if len(value) == 1 else 'rows'}"
            if rows
            else "\n".join(map(cell, value)) or cell(None)
        )
    if isinstance(value, float):
        return f"{value:.2f}"
    return safe(value)


def show_records(job: Job, records: Sequence[Record]) -> None:
    """Print the records of a job, with status and lowest confidence. Columns that do not fit are counted."""
    head = ["document", "status", "confidence"]
    rows = [
        [_short(record.document.name), cell(record.status), cell(min(record.confidence.values(), default=None))]
        for record in records
    ]
    out = stdout()
    left = [name for name in job.fields if any(not is_empty(record.data.get(name)) for record in records)]
    left.sort(key=lambda name: not job.fields[name].required)  # required fields first
    while left:
        column = [_brief(record.data.get(left[0])) for record in records]
        if len(head) == 3:
            column = [
                f"[red]{record.error[0]}[/]" if record.error else each
                for record, each in zip(records, column, strict=True)
            ]
        wanted = [max(map(cell_len, cells)) for cells in zip(head, *rows, strict=True)]
        if sum(wanted) + 2 * len(wanted) + max(map(cell_len, [left[0], *column])) + (9 if left[1:] else 0) > out.width:
            break
        head.append(left.pop(0))
        for row, each in zip(rows, column, strict=True):
            row.append(each)
    table = Table(title=safe(job.name), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in head:
        table.add_column(safe(name), justify="right" if name == "confidence" else "left", no_wrap=True)
    if left:
        table.add_column(f"+{len(left)}")
    for row, record in zip(rows, records, strict=True):
        table.add_row(*row, *(["…"] if left and not record.error else []))
    out.print(table)


def _brief(value: object) -> str:
    """A value as one line of markup: the first value of a group, the number of rows of a list."""
    if isinstance(value, Mapping):
        return next((_brief(each) for each in value.values() if not is_empty(each)), cell(None))
    if isinstance(value, list | tuple) and value and not isinstance(value[0], Mapping):
        return _short(", ".join(map(str, value)))
    return _short(value) if isinstance(value, str) else cell(value)


def _short(text: str) -> str:
    """Plain text as markup that takes at most `MAX_COLUMN_WIDTH` columns. Cut before escaping."""
    plain = sanitize(" ".join(text.split()))
    return escape(
        plain if cell_len(plain) <= MAX_COLUMN_WIDTH else set_cell_size(plain, MAX_COLUMN_WIDTH - 1).rstrip() + "…"
    )
