"""The doctor's tables on the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table

from operations.forecast import InboxForecast, Pace, words
from pipeline.core.check_result import CheckResult
from pipeline.reporting.console import counted, safe, show_rows, stdout

STYLE = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def show_results(findings: Sequence[CheckResult]) -> None:
    """A line each, with what to do below what was seen; the counts last."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("")
    table.add_column("what was seen, and what to do", overflow="fold")
    before = ""
    for each in findings:
        told = safe(each.seen) + (f"\n[bold]→ {safe(each.cure)}[/]" if each.cure else "")
        table.add_row(f"[{STYLE[each.state]}]{each.state}[/]", safe(each.check if each.check != before else ""), told)
        before = each.check
    stdout().print(table)
    faults, warnings = (sum(each.state == state for each in findings) for state in ("fault", "warning"))
    stdout().print(
        "All is well." if not faults + warnings else f"{counted(faults, 'fault')}, {counted(warnings, 'warning')}."
    )


def show_forecast(boxes: Sequence[InboxForecast], pace: Pace | None) -> None:
    """What a run would do now."""
    if not boxes:
        return
    rows = [[each.inbox, each.jobs, each.documents, _when(each)] for each in boxes]
    show_rows(["inbox", "jobs", "documents", "tonight"], rows, "tonight", right=["documents"])
    ready = [each for each in boxes if not each.waits]
    documents = sum(each.documents for each in ready)
    left = sum(each.documents for each in boxes) - documents
    also = f"; {left} wait for another engine" if left else ""
    if not documents:
        stdout().print(f"Nothing waits that this engine can read{also}.")
    elif pace is None:
        stdout().print(
            f"{counted(documents, 'document')} will be read{also}. How long is not known: no run here read any yet."
        )
    else:
        about = words(sum(each.seconds or 0.0 for each in ready))
        speed = f"{pace.pages_per_second:.2f} pages/s, as in run {safe(pace.run)}"
        stdout().print(f"{counted(documents, 'document')} will be read, in about {about} ({speed}){also}.")


def _when(each: InboxForecast) -> str:
    if each.waits:
        return f"waits: {each.waits}"
    return f"about {words(each.seconds)}" if each.seconds else ""
