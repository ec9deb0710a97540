"""What a run is doing at this moment, for other processes of this user to see: <root>/.live.json, for some seconds.

It is private to the user, goes when the run ends, and holds no answer longer than until its document has ended.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.engine import PARTIAL_LETTERS
from pipeline.reporting.run_report import ReportEntry, RunReport, worst
from pipeline.system import filesystem
from pipeline.system.locks import holder

_NAME = ".live.json"
EVERY_S, WATCHED_S = 1.0, 0.4  # between two writings; and while an answer grows before somebody's eyes
WATCHED = 16  # answers at once: at most 320,000 letters


class LiveStatus:
    """A listener. Each batch begins anew, `ended` says that the run waits for work, `close` that it is over.

    The JSON: `run`, `pid`, `engine`, `state` ("working" or "waiting"), `since` (start of the batch or of the wait,
    local time with offset), `waiting` (documents in the inbox when the batch began), `counts` ({"ok": 3, …} so far,
    by what became of them), `pages`, `last` (the name that ended last), `boxes` (the inboxes that this run empties),
    `answering` (how far the answers to questions are, by document id) and `seen_at`.
    """

    def __init__(
        self, root: Path, run: str, engine: str, boxes: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._clock = root, clock
        self._told: dict[str, Any] = {"scanmill": 1, "run": run, "pid": os.getpid(), "engine": engine}
        self._told["boxes"] = sorted(boxes)
        self._answers: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._pages = 0
        self._written = float("-inf")

    def note(self, text: str) -> None:
        pass

    def started(self, waiting: int) -> None:
        self._counts.clear()
        self._pages = 0
        self._told |= {"state": "working", "since": _now(), "waiting": waiting, "last": None}
        self._write()

    def answering(self, document_id: str, text: str) -> None:
        if document_id in self._answers or len(self._answers) < WATCHED:
            self._answers[document_id] = text[:PARTIAL_LETTERS]
            if self._clock() - self._written >= WATCHED_S:
                self._write()

    def finished(self, entry: ReportEntry) -> None:
        self._counts[worst(entry)] += 1
        self._pages += entry.pages
        self._told["last"] = f"{entry.inbox}/{entry.name}"
        if self._answers.pop(entry.document_id, None) is not None or self._clock() - self._written >= EVERY_S:
            self._write()

    def ended(self, run_report: RunReport) -> None:
        self._answers.clear()
        self._told |= {"state": "waiting", "since": _now()}
        self._write()

    def close(self) -> None:
        with filesystem.storing(self._root):
            (self._root / _NAME).unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = self._clock()
        told = {**self._told, "counts": dict(self._counts), "pages": self._pages, "answering": self._answers}
        told["seen_at"] = _now()
        text = json.dumps(told, ensure_ascii=False).encode("utf-8", "backslashreplace")
        place = filesystem.write_scratch(self._root, "json", text + b"\n", durable=False)
        with filesystem.storing(self._root):
            os.chmod(place, 0o600)
            os.replace(place, self._root / _NAME)


def read(root: Path) -> dict[str, Any] | None:
    """What the run that holds the root does now; None where none does, or it has not said yet."""
    held = holder(root)
    try:
        told = json.loads(filesystem.read_file(root / _NAME))
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) and held and told.get("run") == held.get("run") else None


def wipe(root: Path) -> None:
    """Removes what a killed run said, where no other holds the root. Raises StorageError."""
    if not holder(root):
        with filesystem.storing(root):
            (root / _NAME).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
