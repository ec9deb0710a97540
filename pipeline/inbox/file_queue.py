"""The file queue: inbox/ → working/<run>/ (claimed) → done/, failed/ or duplicate/ (finished).

The location of a file is its only state, so a killed run needs no repair: `recover` returns what it had claimed.
Nothing is overwritten and no link is followed. If several machines share the folder, the claiming rename succeeds for
one only.
"""

import errno
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

import simplejson

from pipeline.core.errors import DocumentError
from pipeline.core.safe_text import json_text
from pipeline.core.types import Document
from pipeline.inbox import grouping
from pipeline.inbox.claim import Claim as Claim
from pipeline.inbox.claim import claim_file, claim_set
from pipeline.inbox.scanner import ERROR_SUFFIX, InboxItem, InboxScanner, ignored, unchanged
from pipeline.plugins.formats import explain_error
from pipeline.system import filesystem

Where = Literal["done", "failed", "duplicate"]
SETS = ".sets"  # working/<run>/<box>.sets/ holds sets; inbox names contain no point


class Inbox:
    """The files of one root, moved by one run. `boxes` scans, the methods move."""

    def __init__(
        self,
        root: Path,
        run: str,
        settle_s: float = 2.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        asking: Collection[str] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`asking`: the inboxes in which each document comes with a question.

        `check` is called before every move and raises StorageError if the root has changed.
        """
        self.root, self.run, self._check = root, filesystem.child(run), check
        self.boxes = InboxScanner(root, settle_s, now, clock, asking)
        self._now = now
        self._numbers: dict[Path, int] = {}  # the next " (n)" to try, so that the 10,000th scan.pdf is fast
        self._recovered: list[str] = []

    def make(self, boxes: Iterable[str]) -> None:
        """Creates missing inbox folders; the root must exist. Raises StorageError."""
        for box in boxes:
            filesystem.folder(self.root, "inbox", box)

    # ---- claiming
    def claims(self, boxes: Iterable[str]) -> Iterator[Claim]:
        """Scans once and claims each entry lazily."""
        for dropped in self.boxes.scan(boxes):
            if claim := self.claim(dropped):
                yield claim

    def claim(self, dropped: InboxItem) -> Claim | None:
        """Moves an entry into working/<run>/; None if another process took it or it is being written again.

        Raises StorageError if the root is not writable; an error of this file only is put into `boxes.stuck`.
        """
        in_set = dropped.box in self.boxes.asking
        self._check()
        try:
            if not unchanged(dropped, in_set):
                return None
            target = self._take_set(dropped) if in_set else self._take(dropped)
        except OSError as error:
            if not os.path.lexists(dropped.path):
                return None
            alone = error.errno in (errno.EACCES, errno.EPERM, errno.EXDEV, errno.ENAMETOOLONG, errno.EBUSY)
            if not alone or not os.access(self.root / "working" / self.run, os.W_OK):
                raise filesystem.storage_error(error, self.root / "working") from error
            self.boxes.mark_stuck(dropped.path, error)
            return None
        claim = (
            claim_set(target, dropped.box, self.run)
            if in_set
            else claim_file(target, dropped.box, dropped.name, self.run)
        )
        if claim is None:
            self._put_back(target, dropped.box, target.name if in_set else dropped.name)
        return claim

    def _take(self, dropped: InboxItem) -> Path:
        *inner, name = dropped.name.split("/")
        place = filesystem.folder(self.root, "working", self.run, dropped.box, *inner)
        target = next(place / free for _, free in filesystem.free_names(name) if not os.path.lexists(place / free))
        os.rename(dropped.path, target)
        return target

    def _take_set(self, dropped: InboxItem) -> Path:
        """Claims a folder by one rename; loose files one by one into a new folder, the text first.

        A lone text would be a question of its own, a lone picture waits: so no other machine claims the rest meanwhile.
        After a kill in between, `_complete_set` moves the remaining files.
        """
        place = filesystem.folder(self.root, "working", self.run, dropped.box + SETS)
        if not dropped.members:
            for _, free in filesystem.free_names(dropped.name):
                if not os.path.lexists(place / free):
                    os.rename(dropped.path, place / free)
                    return place / free
        stem = os.path.splitext(dropped.name)[0]
        for _, free in filesystem.free_names(dropped.name if ignored(stem) else stem):
            with suppress(FileExistsError):
                os.mkdir(place / free, 0o700)
                break
        taken: list[str] = []
        try:
            for member in dropped.members:
                os.rename(member, place / free / os.path.basename(member))
                taken.append(member)
        except OSError:
            for member in taken:
                filesystem.move(place / free / os.path.basename(member), Path(member))
            raise
        return place / free

    def _complete_set(self, folder: Path, box: str) -> None:
        """After a kill while loose files were claimed: moves the rest from the inbox. Raises StorageError."""
        top = self.root / "inbox" / box
        with filesystem.storing(folder):
            names = os.listdir(folder)
            if len(names) != 1 or not top.is_dir():
                return
            with os.scandir(top) as entries:
                loose = [each.name for each in entries if not each.is_dir(follow_symlinks=False)]
            others = [name for name in loose if not ignored(name) and name not in names]
            for group in grouping.grouped([*names, *others]):
                for name in group if names[0] in group else ():
                    if name in others:
                        os.rename(top / name, folder / name)

    def recover(self, alive: Callable[[str], bool]) -> Iterator[Claim]:
        """Claims of dead runs: each must be finished or given back before the first scan."""
        with filesystem.storing(self.root / "working"):
            runs = sorted(os.listdir(self.root / "working")) if (self.root / "working").is_dir() else []
        for run in runs:
            if run == self.run or alive(run):
                continue
            self._recovered.append(run)
            top = self.root / "working" / run
            for path in _sets_in(top):
                box = path.parent.name.removesuffix(SETS)
                self._complete_set(path, box)
                if claim := claim_set(path, box, run):
                    yield claim
            for path in sorted(_files(top)):
                box, _, name = str(path.relative_to(top)).partition("/")
                if box.endswith(SETS):
                    continue
                if name and not self._moved(path, box) and (claim := claim_file(path, box, name, run)):
                    yield claim

    def _moved(self, path: Path, box: str) -> bool:
        """Whether a crash inside `filesystem.move` left the file at its target too; then deletes only the old name.

        The file stays at the target, even if the document would end elsewhere today.
        """
        with filesystem.storing(path):
            found = os.lstat(path)
            ends = [self.root / end / box for end in ("done", "failed", "duplicate", "inbox")]
            if found.st_nlink < 2 or not any(_holds(end, found) for end in ends):
                return False
            os.unlink(path)
        return True

    # ---- ending
    def finish(self, document: Document, where: Where, error: DocumentError | None = None) -> Path:
        """Moves a claimed document to done/, failed/ or duplicate/ and returns its path. `error` is for failed only.

        A document that was removed from working/ meanwhile is finished without a file. Raises StorageError.
        """
        if (where == "failed") != (error is not None):
            raise ValueError("failed documents have an error, and no others have")
        self._check()
        day = [datetime.fromtimestamp(self._now()).date().isoformat()] if where == "done" else []
        *inner, name = _home(document).split("/")
        place = filesystem.folder(self.root, where, document.inbox, *day, *inner)
        if error is None:
            return self._move(document.path, place, name)
        note = simplejson.dumps(self._note(document, error), indent=1, ensure_ascii=False) + "\n"
        return self._move(document.path, place, name, json_text(note).encode())

    def give_back(self, document: Document) -> Path:
        """Moves a claimed document back into its inbox, undecided. Raises StorageError."""
        return self._put_back(document.path, document.inbox, _home(document))

    def retry(self, boxes: Iterable[str] | None = None) -> list[str]:
        """Moves failed documents back to their inboxes (None: all), deletes notes, returns "box/name" of each."""
        top = self.root / "failed"
        with filesystem.storing(top):
            found = sorted(os.listdir(top)) if top.is_dir() else []
            moved = []
            for box in found if boxes is None else [box for box in boxes if box in found]:
                for path in sorted([*_noted_folders(top / box), *_files(top / box)]):
                    if path.name.lower().endswith(ERROR_SUFFIX) or not os.path.lexists(path):
                        continue
                    name = str(path.relative_to(top / box))
                    moved.append(str(self._put_back(path, box, name).relative_to(self.root / "inbox")))
                for note in _files(top / box):
                    note.unlink()
                _prune(top / box)
        return moved

    def close(self) -> None:
        """Removes the empty folders of this run and of recovered runs."""
        for run in (self.run, *self._recovered):
            _prune(self.root / "working" / run)

    def _put_back(self, path: Path, box: str, name: str) -> Path:
        *inner, last = name.split("/")
        self._check()
        inbox = self.root / "inbox"  # never created here: an unmounted share must not look like an empty one
        return self._move(path, filesystem.folder(inbox, box, *inner), last)

    def _move(self, source: Path, place: Path, name: str, note: bytes | None = None) -> Path:
        """Moves to the first free name. The note is written first: every file in failed/ has a reason."""
        start = self._numbers.get(place / name, 1)
        for number, free in filesystem.free_names(name, start, len(ERROR_SUFFIX) if note else 0):
            target = place / free
            with filesystem.storing(target):
                if note is not None:
                    if os.path.lexists(target) and not (os.path.lexists(source) and filesystem.same(source, target)):
                        continue
                    filesystem.write_atomic(self.root, place / (free + ERROR_SUFFIX), note)
                try:
                    if not filesystem.move(source, target):
                        continue
                except FileNotFoundError:
                    if os.path.lexists(source):
                        raise
                    self._check()  # the document is gone, or the whole root
            if number > 1:
                self._numbers[place / name] = number + 1
            return target
        raise AssertionError("there is always a next number")

    def _note(self, document: Document, error: DocumentError) -> dict[str, str]:
        known = explain_error(error.code)
        return {
            "file": document.name,
            "code": error.code,
            "what": known.cause,
            "where": f"inbox/{document.inbox}/{document.name}",
            "detail": error.detail,
            "what_to_do": known.cure,
            "when": datetime.fromtimestamp(self._now()).astimezone().isoformat(timespec="seconds"),
            "run": self.run,
        }


def _home(document: Document) -> str:
    """The path of a document below its inbox; for a set, the name of the folder."""
    return document.path.name if document.path.parent.name.endswith(SETS) else document.name


def _sets_in(top: Path) -> Iterator[Path]:
    """The sets claimed by a run. Raises StorageError."""
    with filesystem.storing(top):
        for place in sorted(top.glob(f"*{SETS}/*/")):
            if any(place.iterdir()):
                yield place


def _noted_folders(top: Path) -> Iterator[Path]:
    """Folders with an error note: failed sets."""
    for place, folders, names in os.walk(top):
        sets_here = [name for name in folders if name + ERROR_SUFFIX in names]
        yield from (Path(place, name) for name in sets_here)
        folders[:] = [name for name in folders if name not in sets_here]


def _files(top: Path) -> Iterator[Path]:
    """Everything below `top` except folders; links are not followed."""
    for place, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (Path(place, name) for name in (*names, *links))


def _holds(top: Path, wanted: os.stat_result) -> bool:
    """Whether a file below `top` is the same file."""
    folders = [os.fspath(top)]
    while folders:
        with suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.inode() == wanted.st_ino and os.path.samestat(entry.stat(follow_symlinks=False), wanted):
                    return True
    return False


def _prune(top: Path) -> None:
    """Removes empty folders bottom-up, including `top`."""
    for place, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            os.rmdir(place)
