"""Write the run report: runs/<time>.json and runs/<time>.html."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.core.safe_text import json_text
from pipeline.reporting import html
from pipeline.reporting.run_report import ReportEntry, RunReport, document_status
from pipeline.system import filesystem

CARDS, ROWS, SLOWEST, PLOT_BINS = 100, 2000, 8, 60  # limits of the page; the JSON file is complete


def write(run_report: RunReport, root: Path) -> tuple[Path, Path]:
    """Writes the JSON and the page below `root`/runs and returns both paths. Sets `run_report.written` to the page.

    Raises StorageError. The name is the local start time of the run, with a number if it is taken.
    """
    folder = filesystem.folder(root, "runs")
    page = run_report.written
    if page:
        filesystem.write_atomic(root, page, report(run_report, root, f"{page.stem}.json").encode())
    else:  # page first: a run that is killed here leaves no JSON without a page
        page = run_report.written = _reserved(run_report, root, folder)
    as_json = page.with_suffix(".json")
    text = json_text(json.dumps(run_report.to_dict(), ensure_ascii=False, indent=1))
    filesystem.write_atomic(root, as_json, text.encode() + b"\n")
    return as_json, page


def _reserved(run_report: RunReport, root: Path, folder: Path) -> Path:
    """Writes the page under a free name and returns its path. Two machines may start in the same second."""
    time = run_report.started_at.astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    for stem in (time, *(f"{time}_{count}" for count in range(2, 1_000_000))):
        page = folder / f"{stem}.html"
        if page.exists() or page.with_suffix(".json").exists():
            continue
        place = filesystem.write_scratch(root, "html", report(run_report, root, f"{stem}.json").encode())
        with filesystem.storing(page):
            if filesystem.move(place, page):
                return page
            place.unlink()
    raise AssertionError("no free name")


def pace(run_report: RunReport, bins: int | None = None) -> list[float]:
    """Pages per second over the run, in `bins` equal parts. The pages of a document are spread over its duration."""
    seconds = run_report.seconds
    bins = bins or min(PLOT_BINS, max(6, len(run_report.entries) // 3))
    width, pages = seconds / bins, [0.0] * bins
    for entry in run_report.entries if seconds > 0 else ():
        end = min(max((entry.settled_at - run_report.started_at).total_seconds(), 1e-9), seconds)
        begin = min(max(0.0, end - entry.seconds), end * (1 - 1e-9))
        for place in range(max(0, int(begin / width)), min(bins, int(end / width) + 1)):
            inside = min(end, (place + 1) * width) - max(begin, place * width)
            pages[place] += entry.pages * max(0.0, inside) / (end - begin) / width
    return pages


def busy(run_report: RunReport, bins: int = PLOT_BINS) -> list[float | None]:
    """GPU load (0 to 1) over the run in `bins` equal parts; None for parts without samples. Empty without samples."""
    if not run_report.load or run_report.seconds <= 0:
        return []
    parts: list[list[float]] = [[] for _ in range(bins)]
    for second, share in run_report.load:
        parts[min(bins - 1, int(second / run_report.seconds * bins))].append(share)
    return [sum(part) / len(part) if part else None for part in parts]


def clock(run_report: RunReport) -> list[str]:
    """Axis labels for the start, middle and end of the run: times of day, or durations in a short run."""
    half = run_report.seconds / 2
    if half < 300:
        return ["start", html.span(half), html.span(2 * half)]
    return [(run_report.started_at + timedelta(seconds=half * part)).strftime("%H:%M") for part in range(3)]


def report(run_report: RunReport, root: Path, json_name: str = "") -> str:
    """The run report as an HTML page for <root>/runs/, with the documents that need review first."""
    folder = root / "runs"

    def view(entry: ReportEntry) -> Mapping[str, Any]:
        return {
            "entry": entry,
            **entry.to_dict(),
            "status": document_status(entry),
            "thumbnail": entry.thumbnail,
            "original": html.link(root / entry.moved_to, folder) if entry.moved_to else "",
            "record_links": [html.link(root / path, folder) for path in entry.records],
        }

    jobs = run_report.by_job()
    order = {"failed": 0, "review": 1}
    to_review = sorted(
        (entry for entry in run_report.entries if entry.needs_review),
        key=lambda entry: (order.get(document_status(entry), 2), 1.0 if entry.confidence is None else entry.confidence),
    )
    slowest = sorted((entry for entry in run_report.entries if entry.seconds > 0), key=lambda entry: -entry.seconds)
    return html.render(
        "report.html",
        {
            "counts": run_report.summary(),
            "run_report": run_report,
            "imbalance": run_report.imbalance(),
            "jobs": {job: counts for job, counts in jobs.items() if any(counts.values())},
            "idle": [job for job, counts in jobs.items() if not any(counts.values())],
            "json_name": json_name,
            "pace": pace(run_report),
            "busy": busy(run_report),
            "clock": clock(run_report),
            "to_review_total": len(to_review),
            "to_review": [view(entry) for entry in to_review[:CARDS]],
            "slowest": [view(entry) for entry in slowest[:SLOWEST]],
            "documents": [view(entry) for entry in run_report.entries.first(ROWS)],
        },
    )
