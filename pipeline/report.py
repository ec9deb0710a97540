"""The account as files: runs/<time>.json for machines, runs/<time>.html for the person who comes in the morning."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline import disk, webpage
from pipeline.account import Account, Entry, worst
from pipeline.safetext import json_text

CARDS, ROWS, SLOWEST, PLOT_BINS = 100, 2000, 8, 60  # what the page shows; the JSON beside it holds everything


def write(account: Account, root: Path) -> tuple[Path, Path]:
    """Writes the JSON and the page below `root`/runs, and returns both paths; `account.written` is then the page.

    Raises StorageError. The name is the local time at which the run began, with a number where two began together.
    """
    folder = disk.folder(root, "runs")
    page = account.written
    if page:
        disk.write_whole(root, page, report(account, root, f"{page.stem}.json").encode())
    else:  # before the JSON: a run that is killed here leaves no JSON without its page
        page = account.written = _reserved(account, root, folder)
    as_json = page.with_suffix(".json")
    told = json_text(json.dumps(account.to_dict(), ensure_ascii=False, indent=1))
    disk.write_whole(root, as_json, told.encode() + b"\n")
    return as_json, page


def _reserved(account: Account, root: Path, folder: Path) -> Path:
    """The name of the page, with the page in it: two machines may look for a free name in the same second."""
    time = account.started_at.astimezone().strftime("%Y-%m-%d_%H-%M-%S")
    for stem in (time, *(f"{time}_{count}" for count in range(2, 1_000_000))):
        page = folder / f"{stem}.html"
        if page.exists() or page.with_suffix(".json").exists():
            continue
        place = disk.write_scratch(root, "html", report(account, root, f"{stem}.json").encode())
        with disk.storing(page):
            if disk.move(place, page):
                return page
            place.unlink()
    raise AssertionError("there is always a next number")


def pace(account: Account, bins: int | None = None) -> list[float]:
    """Pages a second over the run, in `bins` equal parts; a document's pages are spread over its own seconds."""
    seconds = account.seconds
    bins = bins or min(PLOT_BINS, max(6, len(account.entries) // 3))
    width, pages = seconds / bins, [0.0] * bins
    for entry in account.entries if seconds > 0 else ():
        end = min(max((entry.settled_at - account.started_at).total_seconds(), 1e-9), seconds)
        begin = min(max(0.0, end - entry.seconds), end * (1 - 1e-9))
        for place in range(max(0, int(begin / width)), min(bins, int(end / width) + 1)):
            inside = min(end, (place + 1) * width) - max(begin, place * width)
            pages[place] += entry.pages * max(0.0, inside) / (end - begin) / width
    return pages


def busy(account: Account, bins: int = PLOT_BINS) -> list[float | None]:
    """The GPU's load (0 to 1) over the run in `bins` equal parts; None where it was not measured. Empty without any."""
    if not account.load or account.seconds <= 0:
        return []
    parts: list[list[float]] = [[] for _ in range(bins)]
    for second, share in account.load:
        parts[min(bins - 1, int(second / account.seconds * bins))].append(share)
    return [sum(part) / len(part) if part else None for part in parts]


def clock(account: Account) -> list[str]:
    """What stands below a plot of the run at its start, middle and end: the time of day, or spans in a short run."""
    half = account.seconds / 2
    if half < 300:
        return ["start", webpage.span(half), webpage.span(2 * half)]
    return [(account.started_at + timedelta(seconds=half * part)).strftime("%H:%M") for part in range(3)]


def report(account: Account, root: Path, json_name: str = "") -> str:
    """The account as one HTML page for <root>/runs/: what needs a person first, everything after it."""
    folder = root / "runs"

    def shown(entry: Entry) -> Mapping[str, Any]:
        return {
            "entry": entry,
            **entry.to_dict(),
            "status": worst(entry),
            "thumbnail": entry.thumbnail,
            "original": webpage.link(root / entry.moved_to, folder) if entry.moved_to else "",
            "record_links": [webpage.link(root / path, folder) for path in entry.records],
        }

    jobs = account.by_job()
    order = {"failed": 0, "review": 1}
    doubtful = sorted(
        (entry for entry in account.entries if entry.needs_a_look),
        key=lambda entry: (order.get(worst(entry), 2), 1.0 if entry.confidence is None else entry.confidence),
    )
    slowest = sorted((entry for entry in account.entries if entry.seconds > 0), key=lambda entry: -entry.seconds)
    return webpage.render(
        "report.html",
        {
            "counts": account.summary(),
            "account": account,
            "imbalance": account.imbalance(),
            "jobs": {job: counts for job, counts in jobs.items() if any(counts.values())},
            "idle": [job for job, counts in jobs.items() if not any(counts.values())],
            "json_name": json_name,
            "pace": pace(account),
            "busy": busy(account),
            "clock": clock(account),
            "doubtful_total": len(doubtful),
            "doubtful": [shown(entry) for entry in doubtful[:CARDS]],
            "slowest": [shown(entry) for entry in slowest[:SLOWEST]],
            "documents": [shown(entry) for entry in account.entries.first(ROWS)],
        },
    )
