"""Print the results of `doctor` as tables."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from operations.forecast import InboxForecast, Pace, words
from pipeline.core.check_result import CheckResult
from pipeline.reporting.console import counted, safe, show_rows, stdout

STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def show_results(findings: Sequence[CheckResult]) -> None:
    """Print one row for each result, with its remedy, and the counts."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("")
    table.add_column("result and remedy", overflow="fold")
    before = ""
    for each in findings:
        text = safe(each.seen) + (f"\n[bold]→ {safe(each.cure)}[/]" if each.cure else "")
        table.add_row(f"[{STYLE[each.state]}]{each.state}[/]", safe(each.check if each.check != before else ""), text)
        before = each.check
    stdout().print(table)
    faults, warnings = (sum(each.state == state for each in findings) for state in ("fault", "warning"))
    stdout().print(
        "No faults, no warnings."
        if not faults + warnings
        else f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}."
    )


def show_forecast(boxes: Sequence[InboxForecast], pace: Pace | None) -> None:
    """Print the forecast of the next run."""
    if not boxes:
        return
    rows = [[each.inbox, each.jobs, each.documents, _when(each)] for each in boxes]
    show_rows(["inbox", "jobs", "documents", "tonight"], rows, "tonight", right=["documents"])
    ready = [each for each in boxes if not each.waits]
    documents = sum(each.documents for each in ready)
    left = sum(each.documents for each in boxes) - documents
    also = f"; {left} wait for another engine" if left else ""
    if not documents:
        stdout().print(f"No documents wait for this engine{also}.")
    elif pace is None:
        stdout().print(
            f"{counted(documents, 'document')} will be read{also}. Duration unknown: no run was measured yet."
        )
    else:
        about = words(sum(each.seconds or 0.0 for each in ready))
        speed = f"{pace.pages_per_second:.2f} pages/s, as in run {safe(pace.run)}"
        stdout().print(f"{counted(documents, 'document')} will be read, in about {about} ({speed}){also}.")


def _when(each: InboxForecast) -> str:
    if each.waits:
        return f"waits: {each.waits}"
    return f"about {words(each.seconds)}" if each.seconds else ""
