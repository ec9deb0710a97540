"""Figures of past runs and of the accuracy after review, from run reports and records."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import simplejson

from pipeline.schema.fields import column, is_empty, leaf_values, leaves
from pipeline.schema.job import Job

CACHED_REPORTS = 5000


@dataclass(frozen=True)
class RunSummary:
    """One run report. `records` are counts by status; `page` is the HTML file."""

    page: Path
    started_at: datetime
    seconds: float
    engine: str
    taken: int
    done: int
    failed: int
    duplicate: int
    given_back: int
    pages: int
    records: dict[str, int]
    gpu_busy: float | None
    faults: tuple[str, ...]

    @property
    def day(self) -> str:
        return self.started_at.strftime("%Y-%m-%d")

    def row(self) -> dict[str, Any]:
        """The row in the list of runs."""
        return {
            "started": self.started_at.strftime("%Y-%m-%d %H:%M:%S"),
            "taken": self.taken,
            "done": self.done,
            "failed": self.failed,
            "for review": self.records.get("review", 0),
            "pages": self.pages,
            "minutes": round(self.seconds / 60, 1),
            "pages/s": round(self.pages / self.seconds, 2) if self.seconds else None,
            "engine": self.engine,
        }


def run_history(root: Path) -> list[RunSummary]:
    """All run reports of a root, the newest first. Other files are skipped."""
    found = []
    for path in (root / "runs").glob("*.json"):
        try:
            found.append(_summary(path, path.stat().st_mtime_ns))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda run: run.started_at, reverse=True)


@functools.lru_cache(maxsize=CACHED_REPORTS)
def _summary(path: Path, changed: int) -> RunSummary:
    report = json.loads(path.read_bytes())
    counts, busy = report["counts"], report.get("gpu_busy")
    return RunSummary(
        page=path.with_suffix(".html"),
        started_at=datetime.fromisoformat(report["started_at"]).astimezone(),
        seconds=float(counts["seconds"]),
        engine=str(report["engine"]),
        **{key: int(counts[key]) for key in ("taken", "done", "failed", "duplicate", "given_back", "pages")},
        records=dict(counts["records"]),
        gpu_busy=busy["mean"] if busy else None,
        faults=tuple(map(str, report["faults"])),
    )


def daily_totals(runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """One dict per day, the oldest first: day, documents, ok, review, failed, pace (pages per second), review_share."""
    days: dict[str, list[RunSummary]] = {}
    for run in sorted(runs, key=lambda run: run.started_at):
        days.setdefault(run.day, []).append(run)
    totals = []
    for day, of_day in days.items():
        records = {status: sum(run.records.get(status, 0) for run in of_day) for status in ("ok", "review", "failed")}
        seconds, pages = sum(run.seconds for run in of_day), sum(run.pages for run in of_day)
        read = records["ok"] + records["review"]
        totals.append(
            {
                "day": day,
                "documents": sum(run.done + run.failed for run in of_day),
                **records,
                "pace": pages / seconds if seconds else None,
                "review_share": records["review"] / read if read else None,
            }
        )
    return totals


def daily_accuracy(root: Path, job: Job) -> list[dict[str, Any]]:
    """Accuracy per day, the oldest first, from the records that somebody approved or corrected.

    Each dict has job, day, records checked, values, corrected, and right: the share of values that were not changed.
    """
    days: dict[str, list[tuple[int, int]]] = {}
    # Companion columns change together with their values and are not counted.
    companions = {path + leaf.companion_suffix for path, leaf in leaves(job.fields) if leaf.companion_suffix}
    for path in (root / "records" / job.name).glob("*.json"):
        try:
            text = path.read_text("utf-8")
            if '"corrections": [' not in text and '"approved": {' not in text:
                continue
            record = simplejson.loads(text)
            corrected = {
                each["path"] for each in record.get("corrections") or () if column(each["path"]) not in companions
            }
            if not corrected and not record.get("approved"):
                continue
            given = {path for path, _, value in leaf_values(job.fields, record["data"]) if not is_empty(value)}
            days.setdefault(str(record["day"]), []).append((len(corrected | given), len(corrected)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not a record
            continue
    return [_accuracy(job.name, day, days[day]) for day in sorted(days)]


def total_accuracy(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum over all days of a job."""
    total = _accuracy(days[0]["job"], "", [(day["values"], day["corrected"]) for day in days])
    return total | {"records checked": sum(day["records checked"] for day in days)}


def _accuracy(job: str, day: str, counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    values, changed = (sum(column) for column in zip(*counts, strict=True))
    right = (values - changed) / values if values else None
    return {
        "job": job, "day": day, "records checked": len(counts), "values": values, "corrected": changed, "right": right,
    }  # fmt: skip
