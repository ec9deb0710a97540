"""What lies in the boxes of the inbox, and what of it has settled."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline import disk

ERROR_SUFFIX = ".error.json"
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", ERROR_SUFFIX)
_LITTER = ("thumbs.db", "desktop.ini", "@eadir")  # what file managers and network disks put beside other people's files
Signature = tuple[int, int]  # size and time of change: what must stand still (not every share has lasting inodes)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A settled entry of a box: a file, or something else that will fail as `not_a_file`."""

    box: str
    name: str
    path: str
    signature: Signature


def ignored(name: str) -> bool:
    """Whether the name says "not mine yet" or "never mine": half-copied, hidden, an editor's, a file manager's."""
    low = name.lower()
    return low.startswith((".", "~$")) or low.endswith(_UNFINISHED) or low in _LITTER


def signature(found: os.stat_result) -> Signature:
    return found.st_size, found.st_mtime_ns


class Boxes:
    """The boxes of one root, looked at again and again by one process.

    Of the last scan, `settling` counts the entries that are still too young, and `stuck` says for each path that could
    not be listed, or that `Inbox.claim` could not take, why.
    """

    def __init__(
        self,
        root: Path,
        settle_s: float = 2.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root, self.settle_s = root, settle_s
        self.settling = 0
        self.stuck: dict[str, str] = {}
        self._now, self._clock = now, clock
        self._looks: dict[str, tuple[Signature, float]] = {}  # what each entry was, and since when

    def waiting(self, boxes: Iterable[str]) -> dict[str, int]:
        """How many files wait in each box, settled or not."""
        return {box: sum(1 for _ in self._entries(box)) for box in boxes}

    def scan(self, boxes: Iterable[str]) -> Iterator[Dropped]:
        """What has settled, the longest unchanged first.

        Settled is what had the same size and time of change at two looks at least `settle_s` apart, or, so that a run
        may begin at once, what both its times say was last touched that long ago. A time of change in the future (a
        camera's, another machine's) says nothing.
        """
        self.stuck.clear()
        looks: dict[str, tuple[Signature, float]] = {}
        ready: list[tuple[int, str, str, Dropped]] = []
        now, tick = self._now(), self._clock()
        for box in boxes:
            start = len(os.path.join(self.root, "inbox", box)) + 1
            for entry in self._entries(box):
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self.stick(entry.path, error)
                    continue
                this = signature(found)
                before, since = self._looks.get(entry.path, (this, tick))
                if before != this:
                    since = tick
                looks[entry.path] = this, since
                touched = found.st_ctime if found.st_mtime > now else max(found.st_mtime, found.st_ctime)
                if max(tick - since, now - touched) >= self.settle_s:
                    name = entry.path[start:]
                    ready.append((found.st_mtime_ns, box, name, Dropped(box, name, entry.path, this)))
        self._looks, self.settling = looks, len(looks) - len(ready)
        ready.sort(key=lambda each: each[:3])
        return (dropped for *_, dropped in ready)

    def _entries(self, box: str) -> Iterator["os.DirEntry[str]"]:
        """Every entry of the box and its folders that is neither a folder nor ignored. Raises StorageError."""
        top = os.path.join(self.root, "inbox", disk.child(box))
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
                    raise disk.storage_error(error, place) from error
                if not isinstance(error, FileNotFoundError):
                    self.stick(place, error)

    def stick(self, path: str, error: OSError) -> None:
        self.stuck[path] = str(disk.storage_error(error, path))
