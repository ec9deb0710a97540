"""Client of the pipeline for questions: submits them to the inbox and reads the answers from records/.

The process that holds the root's lock answers: a run, a `watch`, or a watch that this client starts if there is none.
So only one process uses the GPU.
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
HISTORY_LENGTH = 24_000  # characters of earlier turns sent with a question: about 10,000 tokens
IDLE_MINUTES = 10.0  # then the own watch ends, so that a nightly run can take the root


@dataclass(frozen=True)
class ActiveRun:
    """The run that holds the root. `own` is true for the watch that this client started.

    `inboxes` are those that it reads, None if not yet known; `ahead` is the estimated number of unfinished documents;
    `answering` are partial answers by document id.
    """

    run: str
    pid: int
    since: str
    engine: str | None
    state: str | None
    own: bool
    inboxes: tuple[str, ...] | None = None
    ahead: int = 0
    answering: Mapping[str, str] = field(default_factory=dict)


class QuestionClient:
    """Submits questions and reads answers, for one root and its job that answers questions."""

    def __init__(
        self,
        root: Path,
        jobs: Callable[[], Mapping[str, Job]],
        arguments: Sequence[str],
        sinks: Sequence[str] = DEFAULT,
    ) -> None:
        """`jobs` loads the current jobs; `arguments` are the options of `watch` for this root; `sinks` are the
        configured sinks.
        """
        self.root, self._jobs, self._sinks = root, jobs, sinks
        self.arguments = list(arguments)
        self._watch: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._log = filesystem.folder(root, "asks") / "watch.log"

    @property
    def job(self) -> Job:
        """The job that answers questions. Raises ConfigError."""
        return question_job(self._jobs())

    def submit(self, name: str, images: Sequence[Path], question: str, earlier: Sequence[tuple[str, str]]) -> str:
        """Put a question into the inbox as the folder `name`, atomically, and return its document id.

        Raises DocumentError for an invalid question (empty, too long, a missing image) and StorageError.
        """
        inbox = filesystem.folder(self.root, "inbox", self.job.inbox)
        staging = filesystem.folder(inbox, f".new-{secrets.token_hex(8)}")
        try:
            with filesystem.storing(staging):
                (staging / QUESTION).write_text(question, "utf-8")
                if earlier:
                    turns = [{"question": asked, "answer": answer} for asked, answer in earlier]
                    (staging / EARLIER).write_text(json.dumps(turns, ensure_ascii=False), "utf-8")
                for image in images:
                    _copy(image, staging / filesystem.child(image.name))
                (staging / COMPLETE).touch()
                asked = question_files.read(staging)
                assert asked is not None  # no other process writes there
                if asked.error is not None:
                    raise asked.error
                os.rename(staging, inbox / filesystem.child(name))
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        return asked.id

    def answer(self, document_id: str, since: datetime) -> Record | None:
        """The record of the question, or None while it is pending. Raises StorageError.

        A record from before `since` is used only if the job has not changed and the record has no error.
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

    def active_run(self) -> ActiveRun | None:
        """The run that holds the root, or None."""
        held = holder(self.root)
        if not held:
            return None
        live = live_status.read(self.root) or {}
        pid = int(held.get("pid", 0))
        watch = self._watch
        own = watch is not None and watch.poll() is None and watch.pid == pid
        inboxes, ahead = live.get("boxes"), 0
        if live.get("state") == "working":
            ahead = max(0, int(live["waiting"]) - sum(live["counts"].values()))
        return ActiveRun(
            str(held.get("run")), pid, str(held.get("since")), live.get("engine"), live.get("state"), own,
            None if inboxes is None else tuple(inboxes), ahead, live.get("answering") or {},
        )  # fmt: skip

    def queued(self, conversation: str) -> bool:
        """Whether a question of the conversation is still in the inbox."""
        inbox = self.root / "inbox" / self.job.inbox
        return any(inbox.glob(f"{glob.escape(conversation)}-*"))

    def delete_question(self, conversation: str, document_id: str) -> bool:
        """Delete all files and rows of a question; False while a run is processing it. Raises StorageError."""
        job = self.job
        discard(self.root, job.inbox, f"{conversation}-")
        live_status.wipe(self.root)
        if any(self.root.glob(f"working/*/{job.inbox}{SETS}/{glob.escape(conversation)}-*")):
            return False
        delete(self.root, job, document_id, self._sinks)
        discard(self.root, job.inbox, f"{conversation}-")
        return True

    def ensure_running(self) -> str | None:
        """Start a watch if no run holds the root. Returns the error if the last one failed, else None."""
        with self._starting:
            if self._watch is not None and self._watch.poll() is None:
                return None
            ended, self._watch = self._watch, None
            if holder(self.root):
                return None
            if ended is not None and ended.returncode not in (0, 75):
                return self._log_tail()
            command = [sys.executable, str(RUN), "watch", *self.arguments, "--job", self.job.name]
            with filesystem.storing(self._log), open(self._log, "wb") as log:
                self._watch = subprocess.Popen(
                    [*command, "--stop-when-idle", str(IDLE_MINUTES)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            return None

    def close(self) -> None:
        """Stop the own watch; it finishes the current documents first."""
        with self._starting:
            if self._watch is not None and self._watch.poll() is None:
                self._watch.terminate()
                self._watch.wait()
            self._watch = None  # its exit is not an error

    def _log_tail(self) -> str:
        with filesystem.storing(self._log):
            log = self._log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
        return log or "The engine stopped without an error message."


def question_job(jobs: Mapping[str, Job]) -> Job:
    """The job that answers questions: `ask`, else the first with `questions: true`. Raises ConfigError."""
    found = [job for job in jobs.values() if job.questions]
    if not found:
        cure = "no job answers questions; copy jobs/ask.yaml, or write a job with `questions: true`"
        raise ConfigError([Fault("jobs", None, "questions", cure)])
    return next((job for job in found if job.name == "ask"), found[0])


def answer_text(record: Record, job: Job) -> tuple[str | None, str | None]:
    """The answer in a record: (answer, None), or (None, the reason for none)."""
    if record.error is not None:
        return None, str(DocumentError(*record.error))
    parts = [_text(record.data.get(name)) for name in job.fields]
    answer = "\n\n".join(part for part in parts if part)
    if answer:
        return answer, None
    reasons = "; ".join(issue.message for issue in record.issues if issue.code != "missing")
    why = f"The engine gave no answer ({reasons})" if reasons else "The engine gave no answer"
    return None, f"{why}. Try again with a different question."


def recent_turns(turns: Sequence[tuple[str, str]], length: int = HISTORY_LENGTH) -> list[tuple[str, str]]:
    """The newest turns with at most `length` characters in total. The last turn is cut if it does not fit."""
    kept: list[tuple[str, str]] = []
    for question, answer in reversed(turns):
        size = len(question) + len(answer)
        if size > length:
            if not kept:
                question = question[: length // 4]
                kept.append((question, answer[: length - len(question)]))
            break
        length -= size
        kept.append((question, answer))
    return kept[::-1]


def _copy(image: Path, target: Path) -> None:
    try:
        shutil.copyfile(image, target)
    except FileNotFoundError:
        raise DocumentError("vanished", image.name) from None


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)
