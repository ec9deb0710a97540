"""Forecast the next run: documents for each inbox, and the duration at the last measured speed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, StorageError
from pipeline.inbox.status import status
from pipeline.plugins.engines import choose
from pipeline.schema.job import Job
from pipeline.schema.settings import Settings
from pipeline.system import filesystem

RUNS = 50  # newest run reports to search for a measured speed


@dataclass(frozen=True, slots=True)
class InboxForecast:
    """`waits` is the reason why the engine cannot process it; `seconds` is None if no speed was measured yet."""

    inbox: str
    jobs: str
    documents: int
    waits: str | None
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Pace:
    """Pages per second in the newest run of this engine with pages, and its mean pages per document by inbox."""

    run: str
    pages_per_second: float
    pages: dict[str, float]

    def seconds(self, inbox: str, documents: int) -> float:
        usual = sum(self.pages.values()) / len(self.pages)
        return documents * self.pages.get(inbox, usual) / self.pages_per_second


def forecast(settings: Settings, jobs: Sequence[Job]) -> tuple[list[InboxForecast], Pace | None]:
    """The forecast for all inboxes with a job, and the speed. Empty if the inbox folder is missing or unreadable."""
    engine, _ = choose(settings)
    waits = {job.inbox: reason for job in jobs if (reason := engine.unsupported_reason(job))}
    try:
        boxes = status(settings.root, jobs)["boxes"]
    except (ConfigError, StorageError):
        return [], None
    pace = last_pace(settings.root / "runs", engine.name)
    found = []
    for box in boxes:
        if box["jobs"]:
            inbox, documents, reason = box["inbox"], box["waiting"], waits.get(box["inbox"])
            seconds = pace.seconds(inbox, documents) if pace and not reason else None
            found.append(InboxForecast(inbox, box["jobs"], documents, reason, seconds))
    return found, pace


def last_pace(runs: Path, engine: str) -> Pace | None:
    """The speed from the run reports below `runs`. Unreadable reports are skipped."""
    for path in sorted(runs.glob("*.json"), reverse=True)[:RUNS] if runs.is_dir() else ():
        try:
            run_report = json.loads(filesystem.read_file(path))
            speed = float(run_report["counts"]["pages_per_second"])
            if run_report.get("model") != engine or speed <= 0:
                continue
            pages: dict[str, list[int]] = {}
            for entry in run_report["documents"]:
                if entry["pages"]:
                    pages.setdefault(entry["inbox"], []).append(entry["pages"])
            if pages:
                return Pace(path.stem, speed, {inbox: sum(each) / len(each) for inbox, each in pages.items()})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def words(seconds: float) -> str:
    """A rough duration: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
