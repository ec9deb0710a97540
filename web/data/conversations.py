"""Storage of the Ask page's conversations: `<root>/asks/history.sqlite` and `<root>/asks/<conversation>/<image>`.

Each user sees their own conversations only: `owner` is the id from the browser's cookie.
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
QUESTION_NAME = r"^\d{8}-\d{6}-[0-9a-f]{8}-\d{3,}-[0-9a-f]{6}$"  # names of the page's questions in the inbox
TITLE_LENGTH = 80
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
    """Whether a document of the job is a question from the Ask page, visible to its owner only.

    A file of such a name is not private in a job that answers no questions. If the job is unknown (None), only the
    name counts.
    """
    return (job is None or job.questions) and re.match(QUESTION_NAME, name) is not None


@dataclass(frozen=True)
class StoredImage:
    """An image of a conversation. `file` is its name in the conversation's folder, `name` the name of the upload."""

    file: str
    name: str
    format: str
    width: int
    height: int
    size_bytes: int
    thumbnail: bytes


@dataclass(frozen=True)
class Turn:
    """One question. `answer` is None while it is pending; `error` is the reason if it failed."""

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
    def pending(self) -> bool:
        return self.answer is None and self.error is None


@dataclass(frozen=True)
class Conversation:
    """The entry of a conversation in the list."""

    id: str
    started_at: str
    title: str


class ConversationStore:
    """The conversations of a root. Each call opens the database (about 1 ms), as pages run in many threads."""

    def __init__(self, root: Path) -> None:
        """Raises StorageError."""
        self.root = root
        self._file = filesystem.folder(root, FOLDER) / "history.sqlite"
        with self._connect() as database:
            database.executescript(_SCHEMA)

    def begin(self, owner: str, question: str) -> str:
        """Start a conversation and return its id, which is also the name of its folder."""
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        title = " ".join(question.split())[:TITLE_LENGTH]
        with self._connect() as database:
            database.execute("INSERT INTO conversation VALUES (?, ?, ?, ?)", (name, owner, now(), title))
        return name

    def folder(self, conversation: str) -> Path:
        """The folder of its images. Raises StorageError."""
        return filesystem.folder(self.root, FOLDER, filesystem.child(conversation))

    def add_image(self, conversation: str, image: StoredImage) -> None:
        values = (image.file, image.name, image.format, image.width, image.height, image.size_bytes)
        with self._connect() as database:
            database.execute(
                "INSERT OR REPLACE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (conversation, *values, image.thumbnail),
            )

    def images(self, conversation: str) -> list[StoredImage]:
        with self._connect() as database:
            found = database.execute(
                "SELECT file, name, format, width, height, size_bytes, thumbnail FROM picture WHERE conversation = ? "
                "ORDER BY rowid", (conversation,)
            )  # fmt: skip
            return [StoredImage(*row) for row in found]

    def ask(
        self, conversation: str, question: str, document_id: str, low_resolution: bool, asked_at: str | None = None
    ) -> int:
        """Add a pending turn and return its id. `asked_at` is a time before the question went to the inbox."""
        with self._connect() as database:
            made = database.execute(
                "INSERT INTO turn (conversation, asked_at, question, document_id, low_resolution) "
                "VALUES (?, ?, ?, ?, ?)", (conversation, asked_at or now(), question, document_id, int(low_resolution)),
            )  # fmt: skip
            return int(made.lastrowid or 0)

    def set_answer(self, turn: int, answer: str | None, engine: str, error: str | None = None) -> None:
        """Store the answer, or `error` as the reason for none. Only the first call has an effect."""
        with self._connect() as database:
            database.execute(
                "UPDATE turn SET answered_at = ?, answer = ?, engine = ?, error = ? "
                "WHERE id = ? AND answer IS NULL AND error IS NULL", (now(), answer, engine, error, turn),
            )  # fmt: skip

    def turns(self, conversation: str) -> list[Turn]:
        with self._connect() as database:
            found = database.execute(
                "SELECT id, asked_at, question, document_id, low_resolution, answered_at, answer, engine, error "
                "FROM turn WHERE conversation = ? ORDER BY id", (conversation,)
            )  # fmt: skip
            return [Turn(row[0], row[1], row[2], row[3], bool(row[4]), *row[5:]) for row in found]

    def find(self, owner: str, conversation: str) -> Conversation | None:
        """The conversation, or None if it does not exist or belongs to somebody else."""
        with self._connect() as database:
            row = database.execute(
                "SELECT id, began_at, title FROM conversation WHERE id = ? AND owner = ?", (conversation, owner)
            ).fetchone()
            return Conversation(*row) if row else None

    def conversations(self, owner: str, search: str = "", limit: int = 200) -> list[Conversation]:
        """The owner's conversations, the newest first. `search` is a text in a question, an answer or an image name."""
        like = "%" + search.strip().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        with self._connect() as database:
            found = database.execute(
                "SELECT id, began_at, title FROM conversation AS c WHERE owner = :owner AND ("
                "EXISTS (SELECT 1 FROM turn WHERE conversation = c.id "
                "AND (question LIKE :like ESCAPE '\\' OR answer LIKE :like ESCAPE '\\')) "
                "OR EXISTS (SELECT 1 FROM picture WHERE conversation = c.id AND name LIKE :like ESCAPE '\\')) "
                "ORDER BY began_at DESC, id DESC LIMIT :limit", {"owner": owner, "like": like, "limit": limit},
            )  # fmt: skip
            return [Conversation(*row) for row in found]

    def delete(self, owner: str, conversation: str) -> Sequence[str]:
        """Delete the owner's conversation and images; return the ids of documents that no other conversation has.

        They are listed by `pending_deletions` until `deletion_done` is called for each.
        """
        if self.find(owner, conversation) is None:
            return ()
        asked = tuple(dict.fromkeys(turn.document_id for turn in self.turns(conversation)))
        with filesystem.storing(self.root / FOLDER):
            shutil.rmtree(self.folder(conversation))
        with self._connect() as database:
            database.execute("DELETE FROM conversation WHERE id = ?", (conversation,))
            kept = {row[0] for row in database.execute("SELECT DISTINCT document_id FROM turn")}
            gone = [name for name in asked if name not in kept]
            database.executemany(
                "INSERT OR REPLACE INTO leaving VALUES (?, ?)", [(each, conversation) for each in gone]
            )
        with self._connect(autocommit=True) as database:
            database.execute("VACUUM")  # removes deleted text from the file
        return gone

    def pending_deletions(self) -> list[tuple[str, str]]:
        """Documents of deleted conversations that still have to be deleted, each with its conversation.

        Documents that were asked about again meanwhile are not listed.
        """
        with self._connect() as database:
            return list(database.execute(
                "SELECT document_id, conversation FROM leaving WHERE document_id NOT IN (SELECT document_id FROM turn)"
            ))  # fmt: skip

    def deletion_done(self, document_id: str) -> None:
        with self._connect() as database:
            database.execute("DELETE FROM leaving WHERE document_id = ?", (document_id,))

    @contextmanager
    def _connect(self, autocommit: bool = False) -> Iterator[sqlite3.Connection]:
        filesystem.folder(self.root, FOLDER)  # raises if the root is missing; it is never created here
        database = sqlite3.connect(self._file, timeout=10, isolation_level=None if autocommit else "DEFERRED")
        try:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA secure_delete = ON")
            if autocommit:
                yield database
            else:
                with database:
                    yield database
        except sqlite3.DatabaseError as error:
            raise filesystem.storage_error(OSError(str(error)), self._file) from error
        finally:
            database.close()


def now() -> str:
    """The local time in ISO 8601 with its offset, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
