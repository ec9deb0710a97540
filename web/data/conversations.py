"""The conversations of the Ask page, in one SQLite file below the root: every turn, with its pictures beside it.

`<root>/asks/history.sqlite` and `<root>/asks/<conversation>/<picture>`. Everybody sees their own conversations only:
`owner` is the name that the gate gave to a visitor's browser.
"""

import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pipeline.schema.job import Job
from pipeline.system import filesystem

FOLDER = "asks"
PLACES = r"^\d{8}-\d{6}-[0-9a-f]{8}-\d{3,}-[0-9a-f]{6}$"  # what the page calls its questions in the inbox
TITLE_LETTERS = 80
_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversation (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, began_at TEXT NOT NULL, title TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS picture (
  conversation TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE, file TEXT NOT NULL, name TEXT NOT NULL,
  format TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, size_bytes INTEGER NOT NULL,
  thumbnail BLOB NOT NULL, PRIMARY KEY (conversation, file)
);
CREATE TABLE IF NOT EXISTS turn (
  id INTEGER PRIMARY KEY AUTOINCREMENT, conversation TEXT NOT NULL REFERENCES conversation ON DELETE CASCADE,
  asked_at TEXT NOT NULL, question TEXT NOT NULL, document_id TEXT NOT NULL, low_resolution INTEGER NOT NULL,
  answered_at TEXT, answer TEXT, engine TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS leaving (document_id TEXT PRIMARY KEY, conversation TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS turns_of ON turn (conversation);
CREATE INDEX IF NOT EXISTS conversations_of ON conversation (owner, began_at);
"""


def private(name: str, job: Job | None) -> bool:
    """Whether a document of the job is a question that a visitor asked on the page: it is theirs alone.

    A file that somebody dropped under such a name for another job is everybody's. Of a job that is unknown now (None)
    the name alone decides.
    """
    return (job is None or job.questions) and re.match(PLACES, name) is not None


@dataclass(frozen=True)
class StoredImage:
    """A picture of a conversation. `file` is its name in the conversation's folder, `name` the visitor's."""

    file: str
    name: str
    format: str
    width: int
    height: int
    size_bytes: int
    thumbnail: bytes


@dataclass(frozen=True)
class Turn:
    """One question. `answer` is None while it is on its way; `error` says why there will be none."""

    id: int
    asked_at: str
    question: str
    document_id: str
    low_resolution: bool
    answered_at: str | None
    answer: str | None
    engine: str | None
    error: str | None

    @property
    def open(self) -> bool:
        return self.answer is None and self.error is None


@dataclass(frozen=True)
class Conversation:
    id: str
    began_at: str
    title: str


class History:
    """Each call opens the file for itself: pages run in many threads, and a call takes a millisecond."""

    def __init__(self, root: Path) -> None:
        """Raises StorageError."""
        self.root = root
        self._file = filesystem.folder(root, FOLDER) / "history.sqlite"
        with self._open() as base:
            base.executescript(_SCHEMA)

    def begin(self, owner: str, question: str) -> str:
        """A new conversation; its id names its folder."""
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        title = " ".join(question.split())[:TITLE_LETTERS]
        with self._open() as base:
            base.execute("INSERT INTO conversation VALUES (?, ?, ?, ?)", (name, owner, now(), title))
        return name

    def folder(self, conversation: str) -> Path:
        """Where its pictures lie. Raises StorageError."""
        return filesystem.folder(self.root, FOLDER, filesystem.child(conversation))

    def add_picture(self, conversation: str, picture: StoredImage) -> None:
        values = (picture.file, picture.name, picture.format, picture.width, picture.height, picture.size_bytes)
        with self._open() as base:
            base.execute(
                "INSERT OR REPLACE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (conversation, *values, picture.thumbnail),
            )

    def pictures(self, conversation: str) -> list[StoredImage]:
        with self._open() as base:
            found = base.execute(
                "SELECT file, name, format, width, height, size_bytes, thumbnail FROM picture WHERE conversation = ? "
                "ORDER BY rowid", (conversation,)
            )  # fmt: skip
            return [StoredImage(*row) for row in found]

    def ask(
        self, conversation: str, question: str, document_id: str, low_resolution: bool, asked_at: str | None = None
    ) -> int:
        """A turn that waits for its answer; returns its number. `asked_at`: a moment before it went to the inbox."""
        with self._open() as base:
            made = base.execute(
                "INSERT INTO turn (conversation, asked_at, question, document_id, low_resolution) "
                "VALUES (?, ?, ?, ?, ?)", (conversation, asked_at or now(), question, document_id, int(low_resolution)),
            )  # fmt: skip
            return int(made.lastrowid or 0)

    def answered(self, turn: int, answer: str | None, engine: str, error: str | None = None) -> None:
        """The answer has come, or `error`: why there is none. The first to say so counts."""
        with self._open() as base:
            base.execute(
                "UPDATE turn SET answered_at = ?, answer = ?, engine = ?, error = ? "
                "WHERE id = ? AND answer IS NULL AND error IS NULL", (now(), answer, engine, error, turn),
            )  # fmt: skip

    def turns(self, conversation: str) -> list[Turn]:
        with self._open() as base:
            found = base.execute(
                "SELECT id, asked_at, question, document_id, low_resolution, answered_at, answer, engine, error "
                "FROM turn WHERE conversation = ? ORDER BY id", (conversation,)
            )  # fmt: skip
            return [Turn(row[0], row[1], row[2], row[3], bool(row[4]), *row[5:]) for row in found]

    def mine(self, owner: str, conversation: str) -> Conversation | None:
        """The conversation, where it is the owner's."""
        with self._open() as base:
            row = base.execute(
                "SELECT id, began_at, title FROM conversation WHERE id = ? AND owner = ?", (conversation, owner)
            ).fetchone()
            return Conversation(*row) if row else None

    def conversations(self, owner: str, search: str = "", most: int = 200) -> list[Conversation]:
        """The owner's, the newest first; with `search`, those in which a question, an answer or a picture has it."""
        like = "%" + search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        with self._open() as base:
            found = base.execute(
                "SELECT id, began_at, title FROM conversation AS c WHERE owner = :owner AND ("
                "EXISTS (SELECT 1 FROM turn WHERE conversation = c.id "
                "AND (question LIKE :like ESCAPE '\\' OR answer LIKE :like ESCAPE '\\')) "
                "OR EXISTS (SELECT 1 FROM picture WHERE conversation = c.id AND name LIKE :like ESCAPE '\\')) "
                "ORDER BY began_at DESC, id DESC LIMIT :most", {"owner": owner, "like": like, "most": most},
            )  # fmt: skip
            return [Conversation(*row) for row in found]

    def delete(self, owner: str, conversation: str) -> Sequence[str]:
        """Removes the owner's conversation and its pictures; returns the ids of the documents that only it asked about.

        They stay in `leaving` until the caller has seen each of them off.
        """
        if self.mine(owner, conversation) is None:
            return ()
        asked = tuple(dict.fromkeys(turn.document_id for turn in self.turns(conversation)))
        with filesystem.storing(self.root / FOLDER):
            shutil.rmtree(self.folder(conversation))
        with self._open() as base:
            base.execute("DELETE FROM conversation WHERE id = ?", (conversation,))
            kept = {row[0] for row in base.execute("SELECT DISTINCT document_id FROM turn")}
            gone = [name for name in asked if name not in kept]
            base.executemany("INSERT OR REPLACE INTO leaving VALUES (?, ?)", [(each, conversation) for each in gone])
        with self._open(bare=True) as base:
            base.execute("VACUUM")  # what was deleted is gone from the file too
        return gone

    def leaving(self) -> list[tuple[str, str]]:
        """Documents of deleted conversations that are not gone yet, each with its conversation.

        One that somebody has asked about anew meanwhile stays.
        """
        with self._open() as base:
            return list(base.execute(
                "SELECT document_id, conversation FROM leaving WHERE document_id NOT IN (SELECT document_id FROM turn)"
            ))  # fmt: skip

    def left(self, document_id: str) -> None:
        with self._open() as base:
            base.execute("DELETE FROM leaving WHERE document_id = ?", (document_id,))

    @contextmanager
    def _open(self, bare: bool = False) -> Iterator[sqlite3.Connection]:
        filesystem.folder(self.root, FOLDER)  # a root that went away is told as such, and never made anew
        base = sqlite3.connect(self._file, timeout=10, isolation_level=None if bare else "DEFERRED")
        try:
            base.execute("PRAGMA foreign_keys = ON")
            base.execute("PRAGMA secure_delete = ON")
            if bare:
                yield base
            else:
                with base:
                    yield base
        except sqlite3.DatabaseError as error:
            raise filesystem.storage_error(OSError(str(error)), self._file) from error
        finally:
            base.close()


def now() -> str:
    """This second, with the offset of the local time."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
