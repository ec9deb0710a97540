"""Stores the measured answer lengths of each job in the root; the GPU engine plans its memory by them.

The engine's process reads no files. It gets the lengths when it starts; the run records the length of every reply.
"""

import json
import time
from pathlib import Path

from models.qwen_vl.scheduling.answer_lengths import AnswerLengths, kind_of
from pipeline.core.errors import StorageError
from pipeline.engine import Reply
from pipeline.system import filesystem

NAME = ".answer_lengths.json"  # in the root
SAVE_S = 60.0  # least time between two writes during a run


class AnswerLengthStore:
    """A missing or damaged file counts as empty. A file that cannot be written only makes the next start slower."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / NAME
        self.lengths = AnswerLengths(_read(self._path))
        self._changed, self._saved_s = False, time.monotonic()

    def heard(self, reply: Reply | None) -> None:
        """Record a reply, or None for the end of a stream of replies."""
        if reply is not None and reply.finish != "error" and reply.new_tokens:
            self.lengths.add(kind_of(reply.request), reply.new_tokens)
            self._changed = True
        if self._changed and (reply is None or time.monotonic() - self._saved_s >= SAVE_S):
            self.save()

    def save(self) -> None:
        self._changed, self._saved_s = False, time.monotonic()
        if self._root.is_dir():  # never create the root
            try:
                filesystem.write_atomic(self._root, self._path, json.dumps(self.lengths.as_dict()).encode())
            except (StorageError, OSError):
                return


def _read(path: Path) -> dict[str, list[int]]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        kind: lengths
        for kind, lengths in found.items()
        if isinstance(lengths, list) and all(type(length) is int and length > 0 for length in lengths)
    }
