"""The measured lengths of each job's answers, kept in the root from run to run: the GPU engine plans memory by them.

The engine's process knows no files. It is given the lengths when it starts; this side hears every reply.
"""

import json
import time
from pathlib import Path

from models.qwen_vl.scheduling.answer_lengths import AnswerLengths, kind_of
from pipeline.core.errors import StorageError
from pipeline.engine import Reply
from pipeline.system import filesystem

NAME = ".answer_lengths.json"  # in the root
SAVE_S = 60.0  # at most so often while replies come


class AnswerLengthStore:
    """A file that is missing or damaged is one without lengths; one that cannot be written costs a slower start."""

    def __init__(self, root: Path) -> None:
        self._root, self._path = root, root / NAME
        self.lengths = AnswerLengths(_read(self._path))
        self._changed, self._saved_s = False, time.monotonic()

    def heard(self, reply: Reply | None) -> None:
        """Note a reply; None when a stream of replies has ended."""
        if reply is not None and reply.finish != "error" and reply.new_tokens:
            self.lengths.add(kind_of(reply.request), reply.new_tokens)
            self._changed = True
        if self._changed and (reply is None or time.monotonic() - self._saved_s >= SAVE_S):
            self.save()

    def save(self) -> None:
        self._changed, self._saved_s = False, time.monotonic()
        if self._root.is_dir():  # the root itself is never made
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
