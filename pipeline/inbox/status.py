"""Count waiting, claimed and finished documents, and summarise the last run. Read-only."""

import json
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, Fault
from pipeline.inbox.file_queue import SETS
from pipeline.inbox.scanner import ERROR_SUFFIX, InboxScanner
from pipeline.schema.job import Job
from pipeline.system import filesystem
from pipeline.system.locks import holder


def status(root: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """JSON data: boxes (inbox, jobs, waiting, in_work, done, failed, duplicate), holder, last_run, notes.

    Raises ConfigError where there is no inbox, StorageError where it cannot be read.
    """
    with filesystem.storing(root / "inbox"):
        if not (root / "inbox").is_dir():
            raise ConfigError([Fault(str(root), None, "inbox", "there is no such folder; is --root right?")])
        entries = sorted(os.scandir(root / "inbox"), key=lambda entry: entry.name)
    known: dict[str, list[str]] = {}
    for job in jobs:
        known.setdefault(job.inbox, []).append(job.name)
    asking = {job.inbox for job in jobs if job.questions}
    looks = InboxScanner(root, asking=asking)
    in_work = _per_box(root / "working", above=1)
    ended = {
        where: _per_box(root / where, below=1 if where == "done" else 0, asking=asking)
        for where in ("done", "failed", "duplicate")
    }
    boxes = []
    there = [entry.name for entry in entries if os.path.isdir(entry)]  # as for a run, a box itself may be a link
    for box in dict.fromkeys([*known, *there]):
        waiting = looks.waiting([box])[box] if box in there else 0
        boxes.append(
            {
                "inbox": box,
                "jobs": ", ".join(known.get(box, ())) or None,
                "waiting": waiting,
                "in_work": in_work.get(box, 0),
                **{where: counts.get(box, 0) for where, counts in ended.items()},
            }
        )
    held, last = holder(root), _last_run(root / "runs")
    notes = [f"no job reads inbox/{box['inbox']} ({box['waiting']} files)" for box in boxes if not box["jobs"]]
    loose = sum(1 for entry in entries if os.path.isfile(entry) and not entry.name.startswith("."))
    if loose:
        notes.append(f"{loose} files are in inbox/ itself; move them into the folder of the job that should read them")
    notes.append(
        f"run {held['run']} is active since {held['since']} (process {held['pid']})" if held else "no run is active"
    )
    if last:
        counts = last["counts"]
        notes.append(
            f"last run {last['finished_at']}: {counts['taken']} taken, {counts['done']} done, "
            f"{counts['failed']} failed, {counts['duplicate']} duplicate, {counts['given_back']} given back"
        )
    return {"scanmill": 1, "root": str(root), "boxes": boxes, "holder": held or None, "last_run": last, "notes": notes}


def _per_box(folder: Path, above: int = 0, below: int = 0, asking: Collection[str] = ()) -> dict[str, int]:
    """The number of documents below each <folder>/<box>, with `above` folder levels before the box.

    In an inbox with questions a document is a folder, `below` levels under the box.
    """
    counts: dict[str, int] = {}
    for place, folders, names in os.walk(folder):
        parts = Path(place).relative_to(folder).parts
        if len(parts) <= above:
            continue
        box = parts[above].removesuffix(SETS)
        documents = sum(not name.endswith(ERROR_SUFFIX) for name in names)
        if len(parts) == above + below + 1 and (box in asking or box != parts[above]):
            documents += len(folders)
            folders.clear()
        counts[box] = counts.get(box, 0) + documents
    return counts


def _last_run(runs: Path) -> dict[str, Any] | None:
    """The newest readable run report, without its list of documents."""
    for path in sorted(runs.glob("*.json"), reverse=True) if runs.is_dir() else ():
        try:
            run_report = json.loads(filesystem.read_file(path))
            return {key: run_report[key] for key in ("engine", "started_at", "finished_at", "counts", "jobs", "faults")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
