"""Publish the status of a running batch to other processes of this user, in <root>/.live.json.

The file is readable by this user only and removed when the run ends. An answer is removed when its document is done.
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
from pipeline.reporting.run_report import ReportEntry, RunReport, document_status
from pipeline.system import filesystem
from pipeline.system.locks import holder

_NAME = ".live.json"
EVERY_S, PARTIAL_S = 1.0, 0.4  # between two writes; and between two writes of partial answers
MAX_PARTIAL_ANSWERS = 16  # at once: at most 320,000 letters


class LiveStatus:
    """A listener that writes the status. Counts start at zero with each batch; `close` removes the file.

    The JSON: `run`, `pid`, `engine`, `state` ("working" or "waiting"), `since` (start of this state, local time with
    offset), `waiting` (documents in the inbox at the start of the batch), `counts` (documents so far by status, {"ok":
    3, …}), `pages`, `last` (the last finished document), `boxes` (the inboxes of this run), `answering` (partial
    answers by document id) and `seen_at` (time of writing).
    """

    def __init__(
        self, root: Path, run: str, engine: str, boxes: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._clock = root, clock
        self._status: dict[str, Any] = {"scanmill": 1, "run": run, "pid": os.getpid(), "engine": engine}
        self._status["boxes"] = sorted(boxes)
        self._answers: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._pages = 0
        self._written = float("-inf")

    def note(self, text: str) -> None:
        pass

    def started(self, waiting: int) -> None:
        self._counts.clear()
        self._pages = 0
        self._status |= {"state": "working", "since": _now(), "waiting": waiting, "last": None}
        self._write()

    def answering(self, document_id: str, text: str) -> None:
        if document_id in self._answers or len(self._answers) < MAX_PARTIAL_ANSWERS:
            self._answers[document_id] = text[:PARTIAL_LETTERS]
            if self._clock() - self._written >= PARTIAL_S:
                self._write()

    def finished(self, entry: ReportEntry) -> None:
        self._counts[document_status(entry)] += 1
        self._pages += entry.pages
        self._status["last"] = f"{entry.inbox}/{entry.name}"
        if self._answers.pop(entry.document_id, None) is not None or self._clock() - self._written >= EVERY_S:
            self._write()

    def ended(self, run_report: RunReport) -> None:
        self._answers.clear()
        self._status |= {"state": "waiting", "since": _now()}
        self._write()

    def close(self) -> None:
        with filesystem.storing(self._root):
            (self._root / _NAME).unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = self._clock()
        status = {**self._status, "counts": dict(self._counts), "pages": self._pages, "answering": self._answers}
        status["seen_at"] = _now()
        text = json.dumps(status, ensure_ascii=False).encode("utf-8", "backslashreplace")
        path = filesystem.write_scratch(self._root, "json", text + b"\n", durable=False)
        with filesystem.storing(self._root):
            os.chmod(path, 0o600)
            os.replace(path, self._root / _NAME)


def read(root: Path) -> dict[str, Any] | None:
    """The status of the run that holds the root; None if there is none, or it has not written one yet."""
    held = holder(root)
    try:
        status = json.loads(filesystem.read_file(root / _NAME))
    except (OSError, ValueError):
        return None
    return status if isinstance(status, dict) and held and status.get("run") == held.get("run") else None


def wipe(root: Path) -> None:
    """Removes the status of a killed run, unless another run holds the root. Raises StorageError."""
    if not holder(root):
        with filesystem.storing(root):
            (root / _NAME).unlink(missing_ok=True)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
