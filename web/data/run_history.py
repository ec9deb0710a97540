"""The accounts of past runs as figures. Each file is read once and again only when it has changed."""

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

KEPT = 5000


@dataclass(frozen=True)
class RunSummary:
    """One account. `records` counts by status; `page` is the HTML file."""

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
        """For the list of runs."""
        return {
            "began": self.started_at.strftime("%Y-%m-%d %H:%M:%S"),
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
    """All accounts of a root, the newest first. What is no account is passed over."""
    found = []
    for path in (root / "runs").glob("*.json"):
        try:
            seen = path.stat()
            found.append(_run(path, seen.st_mtime_ns))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda run: run.started_at, reverse=True)


@functools.lru_cache(maxsize=KEPT)
def _run(path: Path, changed: int) -> RunSummary:
    told = json.loads(path.read_bytes())
    counts, busy = told["counts"], told.get("gpu_busy")
    return RunSummary(
        page=path.with_suffix(".html"),
        started_at=datetime.fromisoformat(told["started_at"]).astimezone(),
        seconds=float(counts["seconds"]),
        engine=str(told["engine"]),
        **{key: int(counts[key]) for key in ("taken", "done", "failed", "duplicate", "given_back", "pages")},
        records=dict(counts["records"]),
        gpu_busy=busy["mean"] if busy else None,
        faults=tuple(map(str, told["faults"])),
    )


def by_day(found: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """One dict a day, the oldest first: day, documents, ok, review, failed, pace (pages a second), review_share."""
    days: dict[str, list[RunSummary]] = {}
    for run in sorted(found, key=lambda run: run.started_at):
        days.setdefault(run.day, []).append(run)
    told = []
    for day, of_day in days.items():
        records = {status: sum(run.records.get(status, 0) for run in of_day) for status in ("ok", "review", "failed")}
        seconds, pages = sum(run.seconds for run in of_day), sum(run.pages for run in of_day)
        read = records["ok"] + records["review"]
        told.append(
            {
                "day": day,
                "documents": sum(run.done + run.failed for run in of_day),
                **records,
                "pace": pages / seconds if seconds else None,
                "review_share": records["review"] / read if read else None,
            }
        )
    return told


def checked(root: Path, job: Job) -> list[dict[str, Any]]:
    """One dict a day, the oldest first, of the records that a person approved or corrected: job, day, records checked,
    values, corrected, and right, the share of the values that nobody changed.
    """
    days: dict[str, list[tuple[int, int]]] = {}
    prints = {
        path + leaf.companion_suffix for path, leaf in leaves(job.fields) if leaf.companion_suffix
    }  # they follow their values
    for path in (root / "records" / job.name).glob("*.json"):
        try:
            text = path.read_text("utf-8")
            if '"corrections": [' not in text and '"approved": {' not in text:
                continue
            told = simplejson.loads(text)
            corrected = {each["path"] for each in told.get("corrections") or () if column(each["path"]) not in prints}
            if not corrected and not told.get("approved"):
                continue
            given = {path for path, _, value in leaf_values(job.fields, told["data"]) if not is_empty(value)}
            days.setdefault(str(told["day"]), []).append((len(corrected | given), len(corrected)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no record of ours
            continue
    return [_right(job.name, day, days[day]) for day in sorted(days)]


def together(days: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same of all days of a job."""
    told = _right(days[0]["job"], "", [(day["values"], day["corrected"]) for day in days])
    return told | {"records checked": sum(day["records checked"] for day in days)}


def _right(job: str, day: str, counts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    values, changed = (sum(each[place] for each in counts) for place in (0, 1))
    right = (values - changed) / values if values else None
    return {
        "job": job, "day": day, "records checked": len(counts), "values": values, "corrected": changed, "right": right,
    }  # fmt: skip
