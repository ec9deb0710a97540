"""Scan the inboxes for files and sets that are no longer being written (settled)."""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.inbox import grouping
from pipeline.system import filesystem

ERROR_SUFFIX = ".error.json"
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", ERROR_SUFFIX)
_LITTER = ("thumbs.db", "desktop.ini", "@eadir")  # files of file managers and network disks
Signature = tuple[int, int]  # size and mtime; inodes are not stable on every network share
GRACE = 15  # a picture waits this many times `settle_s` for its question: 30 s


@dataclass(frozen=True, slots=True)
class InboxItem:
    """A settled entry of an inbox: a file, or something else that will fail as `not_a_file`.

    In an inbox with questions it is a set: a folder, or the loose files `members`, in claiming order.
    """

    box: str
    name: str
    path: str
    signature: Signature
    members: tuple[str, ...] = ()


class _Seen(NamedTuple):
    """An entry in one scan. It settles after `patience` times the usual time."""

    name: str
    path: str
    signature: Signature
    changed_ns: int
    touched: float
    patience: float = 1.0
    members: tuple[str, ...] = ()


def ignored(name: str) -> bool:
    """Whether the name is that of an incomplete, hidden, editor or file manager file."""
    low = name.lower()
    return low.startswith((".", "~$")) or low.endswith(_UNFINISHED) or low in _LITTER


def signature(found: os.stat_result) -> Signature:
    return found.st_size, found.st_mtime_ns


def combined_signature(found: Iterable[tuple[str, os.stat_result]]) -> Signature:
    """The combined signature of several files, by name."""
    seen = sorted((name, signature(each)) for name, each in found)
    return sum(size for _, (size, _) in seen), hash(tuple(seen))


def walk_files(top: str | Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every entry below `top` except folders, as (relative path, stat result); links are not followed.

    Ignored files and folders have None as stat result. Raises OSError.
    """
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                if ignored(entry.name):
                    yield name, None
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    yield name, entry.stat(follow_symlinks=False)


def unchanged(dropped: InboxItem, in_set: bool) -> bool:
    """Whether the entry is unchanged since the scan. Raises OSError."""
    if not in_set:
        now = signature(os.lstat(dropped.path))
    elif dropped.members:
        now = combined_signature((path, os.lstat(path)) for path in dropped.members)
    else:
        now = combined_signature((name, found) for name, found in walk_files(dropped.path) if found)
    return now == dropped.signature


class InboxScanner:
    """Repeated scans of the inboxes of one root by one process.

    `asking`: inboxes in which each document comes with a question; a set is one entry there. After a scan, `settling`
    is the number of entries not settled yet; `stuck` has the reason for each path that could not be listed or claimed.
    """

    def __init__(
        self,
        root: Path,
        settle_s: float = 2.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        asking: Collection[str] = (),
    ) -> None:
        self.root, self.settle_s, self.asking = root, settle_s, frozenset(asking)
        self.settling = 0
        self.stuck: dict[str, str] = {}
        self._now, self._clock = now, clock
        self._looks: dict[str, tuple[Signature, float]] = {}  # signature of each entry, and since when

    def waiting(self, boxes: Iterable[str]) -> dict[str, int]:
        """The number of waiting documents per inbox, settled or not."""
        return {box: sum(1 for _ in (self._sets(box) if box in self.asking else self._entries(box))) for box in boxes}

    def scan(self, boxes: Iterable[str]) -> Iterator[InboxItem]:
        """The settled entries, the longest unchanged first.

        An entry is settled if its size and mtime are equal in two scans at least `settle_s` apart, or, so that a run
        can start at once, if mtime and ctime are at least that old. An mtime in the future (set by a camera or another
        machine) is ignored.
        """
        self.stuck.clear()
        looks: dict[str, tuple[Signature, float]] = {}
        ready: list[tuple[int, str, str, InboxItem]] = []
        now, tick = self._now(), self._clock()
        for box in boxes:
            for each in self._sets(box) if box in self.asking else self._alone(box):
                before, since = self._looks.get(each.path, (each.signature, tick))
                if before != each.signature:
                    since = tick
                looks[each.path] = each.signature, since
                if max(tick - since, now - each.touched) >= self.settle_s * each.patience:
                    dropped = InboxItem(box, each.name, each.path, each.signature, each.members)
                    ready.append((each.changed_ns, box, each.name, dropped))
        self._looks, self.settling = looks, len(looks) - len(ready)
        ready.sort(key=lambda each: each[:3])
        return (dropped for *_, dropped in ready)

    def _touched(self, found: os.stat_result) -> float:
        return found.st_ctime if found.st_mtime > self._now() else max(found.st_mtime, found.st_ctime)

    def _alone(self, box: str) -> Iterator[_Seen]:
        start = len(os.path.join(self.root, "inbox", box)) + 1
        for entry in self._entries(box):
            if found := self._stat(entry):
                touched = self._touched(found)
                yield _Seen(entry.path[start:], entry.path, signature(found), found.st_mtime_ns, touched)

    def _stat(self, entry: "os.DirEntry[str]") -> os.stat_result | None:
        try:
            return entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.mark_stuck(entry.path, error)
            return None

    def _sets(self, box: str) -> Iterator[_Seen]:
        """The sets of an inbox: each question with its pictures. Raises StorageError."""
        top = os.path.join(self.root, "inbox", filesystem.child(box))
        loose: dict[str, os.stat_result] = {}
        unfinished: list[str] = []
        with filesystem.storing(top), os.scandir(top) as entries:
            found_entries = list(entries)
        for entry in found_entries:
            if ignored(entry.name):
                unfinished.append(entry.name)
            elif entry.is_dir(follow_symlinks=False):
                if seen := self._folder(entry.name, entry.path):
                    yield seen
            elif found := self._stat(entry):
                loose[entry.name] = found
        for names in grouping.grouped(loose):
            patience = 1.0
            if grouping.lacks(names):
                wanted = grouping.named_picture(names[0]) or names[0]
                patience = float("inf") if any(wanted in name for name in unfinished) else GRACE
            paths = tuple(os.path.join(top, name) for name in names)
            files = {path: loose[name] for path, name in zip(paths, names, strict=True)}
            yield self._seen(names[-1], paths[0], files, patience, paths)

    def _folder(self, name: str, path: str) -> _Seen | None:
        """The entry of a folder; None while it is empty."""
        try:
            contents = list(walk_files(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            self.mark_stuck(path, error)
            return None
        files = {inner: found for inner, found in contents if found}
        if not files:
            return None
        patience = GRACE if grouping.lacks(files) else 1.0
        if any(inner.lower().endswith(_UNFINISHED) for inner, found in contents if not found):
            patience = float("inf")
        if (grouping.COMPLETE, None) in contents:  # added by one rename
            patience = 0.0
        return self._seen(name, path, files, patience)

    def _seen(
        self, name: str, path: str, files: dict[str, os.stat_result], patience: float, members: tuple[str, ...] = ()
    ) -> _Seen:
        changed = max(found.st_mtime_ns for found in files.values())
        touched = max(self._touched(found) for found in files.values())
        return _Seen(name, path, combined_signature(files.items()), changed, touched, patience, members)

    def _entries(self, box: str) -> Iterator["os.DirEntry[str]"]:
        """Every entry of the inbox and its folders that is neither a folder nor ignored. Raises StorageError."""
        top = os.path.join(self.root, "inbox", filesystem.child(box))
        folders = [top]
        while folders:
            place = folders.pop()
            try:
                with os.scandir(place) as entries:
                    for entry in entries:
                        if ignored(entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            yield entry
            except OSError as error:
                if place == top:
                    raise filesystem.storage_error(error, place) from error
                if not isinstance(error, FileNotFoundError):
                    self.mark_stuck(place, error)

    def mark_stuck(self, path: str, error: OSError) -> None:
        self.stuck[path] = str(filesystem.storage_error(error, path))
