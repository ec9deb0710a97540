"""The way of a question into the pipeline and of its answer back: a folder in the inbox, a record in records/.

The page never answers and never decodes. Whoever holds the root answers: a `watch`, a run, or the watch of its own that
the page starts when there is none. So the GPU has one owner.
"""

import glob
import json
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigError, DocumentError, Fault
from pipeline.core.types import Record
from pipeline.inbox import question_files
from pipeline.inbox.file_queue import SETS
from pipeline.inbox.grouping import COMPLETE, EARLIER, QUESTION
from pipeline.plugins.sinks import DEFAULT
from pipeline.reporting import live_status
from pipeline.schema.job import Job
from pipeline.storage.deletion import delete, discard
from pipeline.storage.record_files import record_file
from pipeline.storage.record_json import from_json
from pipeline.system import filesystem
from pipeline.system.locks import holder

RUN = Path(__file__).resolve().parents[2] / "run_batch.py"
EARLIER_LETTERS = 24_000  # of a conversation go along with its next question: some ten thousand tokens
IDLE_MINUTES = 10.0  # then the page's own watch ends, so that a nightly run finds the root free


@dataclass(frozen=True)
class Owner:
    """Who answers now. `mine` for the watch that this page started; `engine` is the name of what reads.

    `boxes` are the inboxes that it empties, None where it has not said yet; `ahead` is about how many documents of its
    batch have not ended; `answering` are the answers that are being made, by document id.
    """

    run: str
    pid: int
    since: str
    engine: str | None
    state: str | None
    mine: bool
    boxes: tuple[str, ...] | None = None
    ahead: int = 0
    answering: Mapping[str, str] = field(default_factory=dict)


class QuestionClient:
    """Questions in, records out, for one root and the job that answers questions."""

    def __init__(
        self,
        root: Path,
        jobs: Callable[[], Mapping[str, Job]],
        arguments: Sequence[str],
        sinks: Sequence[str] = DEFAULT,
    ) -> None:
        """`jobs` gives the jobs as they are now; `arguments` make `run_batch.py` work on this root with them, `sinks`
        are those of the config.
        """
        self.root, self._jobs, self._sinks = root, jobs, sinks
        self._arguments = list(arguments)
        self._watch: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._log = filesystem.folder(root, "asks") / "watch.log"

    @property
    def job(self) -> Job:
        """The job that answers. Raises ConfigError."""
        return job_of(self._jobs())

    def drop(self, name: str, pictures: Sequence[Path], question: str, earlier: Sequence[tuple[str, str]]) -> str:
        """Puts a question into the inbox as the folder `name`, with one rename; returns its document's id.

        Raises DocumentError where it cannot be asked (an empty question, one that is too long, a picture that is gone),
        and StorageError.
        """
        box = filesystem.folder(self.root, "inbox", self.job.inbox)
        made = filesystem.folder(box, f".new-{secrets.token_hex(8)}")
        try:
            with filesystem.storing(made):
                (made / QUESTION).write_text(question, "utf-8")
                if earlier:
                    turns = [{"question": asked, "answer": answer} for asked, answer in earlier]
                    (made / EARLIER).write_text(json.dumps(turns, ensure_ascii=False), "utf-8")
                for picture in pictures:
                    _copy(picture, made / filesystem.child(picture.name))
                (made / COMPLETE).touch()
                asked = question_files.read(made)
                assert asked is not None  # nobody else writes there
                if asked.error is not None:
                    raise asked.error
                os.rename(made, box / filesystem.child(name))
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return asked.id

    def answer(self, document_id: str, since: datetime) -> Record | None:
        """The record of the question, once there is one; an older one counts where the job is still the same and it
        did not fail. Raises StorageError.
        """
        path = self.root / record_file(self.job.name, document_id, None)
        with filesystem.storing(path):
            try:
                text = path.read_text("utf-8")
            except FileNotFoundError:
                return None
        record = from_json(text, self.job)
        new = record.processed_at is not None and record.processed_at >= since
        if not new and (record.error or record.provenance.get("job_digest") != self.job.digest):
            return None
        return record

    def owner(self) -> Owner | None:
        """Who holds the root now, or None."""
        held = holder(self.root)
        if not held:
            return None
        told = live_status.read(self.root) or {}
        pid = int(held.get("pid", 0))
        watch = self._watch
        mine = watch is not None and watch.poll() is None and watch.pid == pid
        boxes, ahead = told.get("boxes"), 0
        if told.get("state") == "working":
            ahead = max(0, int(told["waiting"]) - sum(told["counts"].values()))
        return Owner(
            str(held.get("run")), pid, str(held.get("since")), told.get("engine"), told.get("state"), mine,
            None if boxes is None else tuple(boxes), ahead, told.get("answering") or {},
        )  # fmt: skip

    def queued(self, conversation: str) -> bool:
        """Whether a question of the conversation still lies in the inbox."""
        box = self.root / "inbox" / self.job.inbox
        return any(box.glob(f"{glob.escape(conversation)}-*"))

    def forget(self, conversation: str, document_id: str) -> bool:
        """Removes all that the pipeline keeps of a question; False while a run has it in hand. Raises StorageError."""
        job = self.job
        discard(self.root, job.inbox, f"{conversation}-")
        live_status.wipe(self.root)
        if any(self.root.glob(f"working/*/{job.inbox}{SETS}/{glob.escape(conversation)}-*")):
            return False
        delete(self.root, job, document_id, self._sinks)
        discard(self.root, job.inbox, f"{conversation}-")
        return True

    def see_to_it(self) -> str | None:
        """Starts the page's own watch where nobody holds the root. A sentence when that failed, else None."""
        with self._starting:
            if self._watch is not None and self._watch.poll() is None:
                return None
            ended, self._watch = self._watch, None
            if holder(self.root):
                return None
            if ended is not None and ended.returncode not in (0, 75):
                return self._last_words()
            command = [sys.executable, str(RUN), "watch", *self._arguments, "--job", self.job.name]
            with filesystem.storing(self._log), open(self._log, "wb") as log:
                self._watch = subprocess.Popen(
                    [*command, "--stop-when-idle", str(IDLE_MINUTES)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            return None

    def close(self) -> None:
        """Ends the page's own watch; what it has in hand is finished first."""
        with self._starting:
            if self._watch is not None and self._watch.poll() is None:
                self._watch.terminate()
                self._watch.wait()
            self._watch = None  # that it ended is no trouble

    def _last_words(self) -> str:
        with filesystem.storing(self._log):
            said = self._log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
        return said or "The engine ended without a word."


def job_of(jobs: Mapping[str, Job]) -> Job:
    """The job that answers questions: the one called ask, else the first with `questions: true`. Raises ConfigError."""
    asking = [job for job in jobs.values() if job.questions]
    if not asking:
        cure = "no job answers questions; copy jobs/ask.yaml, or write a job with `questions: true`"
        raise ConfigError([Fault("jobs", None, "questions", cure)])
    return next((job for job in asking if job.name == "ask"), asking[0])


def said(record: Record, job: Job) -> tuple[str | None, str | None]:
    """What to show for a record: (answer, None), or (None, why there is none)."""
    if record.error is not None:
        return None, str(DocumentError(*record.error))
    parts = [_text(record.data.get(name)) for name in job.fields]
    answer = "\n\n".join(part for part in parts if part)
    if answer:
        return answer, None
    reasons = "; ".join(issue.message for issue in record.issues if issue.code != "missing")
    why = f"The engine gave no answer ({reasons})" if reasons else "The engine gave no answer"
    return None, f"{why}. Ask again, perhaps in other words."


def recent(turns: Sequence[tuple[str, str]], letters: int = EARLIER_LETTERS) -> list[tuple[str, str]]:
    """The newest turns of a conversation that fit into so many letters; of the last one at least its beginning."""
    kept: list[tuple[str, str]] = []
    for question, answer in reversed(turns):
        size = len(question) + len(answer)
        if size > letters:
            if not kept:
                question = question[: letters // 4]
                kept.append((question, answer[: letters - len(question)]))
            break
        letters -= size
        kept.append((question, answer))
    return kept[::-1]


def _copy(picture: Path, target: Path) -> None:
    try:
        shutil.copyfile(picture, target)
    except FileNotFoundError:
        raise DocumentError("vanished", picture.name) from None


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
