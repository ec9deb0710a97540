"""The accounts of past runs as figures. Each file is read once and again only when it has changed."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import simplejson

KEPT = 5000


@dataclass(frozen=True)
class Run:
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


def runs(root: Path) -> list[Run]:
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
def _run(path: Path, changed: int) -> Run:
    told = json.loads(path.read_bytes())
    counts, busy = told["counts"], told.get("gpu_busy")
    return Run(
        page=path.with_suffix(".html"),
        started_at=datetime.fromisoformat(told["started_at"]).astimezone(),
        seconds=float(counts["seconds"]),
        engine=str(told["engine"]),
        **{key: int(counts[key]) for key in ("taken", "done", "failed", "duplicate", "given_back", "pages")},
        records=dict(counts["records"]),
        gpu_busy=busy["mean"] if busy else None,
        faults=tuple(map(str, told["faults"])),
    )


def by_day(found: Sequence[Run]) -> list[dict[str, Any]]:
    """One dict a day, the oldest first: day, documents, ok, review, failed, pace (pages a second), review_share."""
    days: dict[str, list[Run]] = {}
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


def checked(root: Path, job: str) -> dict[str, Any] | None:
    """Of the records that a person approved or corrected: how many, their values, and the share nobody changed."""
    records = values = changed = 0
    for path in (root / "records" / job).glob("*.json"):
        try:
            text = path.read_text("utf-8")
            if '"corrections": [' not in text and '"approved": {' not in text:
                continue
            told = simplejson.loads(text)
            corrected = {each["path"] for each in told.get("corrections") or ()}
            if not corrected and not told.get("approved"):
                continue
            sure = {path for path, leaf in told["fields"].items() if leaf.get("confidence") is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no record of ours
            continue
        records += 1
        values += len(corrected | sure)
        changed += len(corrected)
    if not records:
        return None
    right = (values - changed) / values if values else None
    return {"job": job, "records checked": records, "values": values, "corrected": changed, "right": right}
