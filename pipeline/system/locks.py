"""Locks of a root and of a job's files, by `flock`, which ends with the process.

The root's lock is on <root>/.lock, which also says who holds it. On a share without flock, or with flock on one machine
only, two runs may work at once. The rename that claims a file still gives it to one of them, and `alive` keeps one
machine from taking back files that another is working on.
"""

import errno
import fcntl
import json
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import BusyError
from pipeline.system import filesystem

_NAME = ".lock"
MOUNTS = Path("/proc/self/mountinfo")
_SHARES = ("nfs", "cifs", "smb", "sshfs", "ceph", "lustre", "gluster", "afs", "gpfs", "beegfs", "ocfs2", "gfs2")
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
RETRY_WAITS_S = (0.01, 0.05, 0.1)
FOREIGN_RUN_TIMEOUT_S = 24 * 3600.0  # a run of another machine that changed nothing for so long is considered dead


def run_name(started: datetime) -> str:
    """A name for a run: start, host and process, as in 2026-11-22T031500.123-scanhost-4711. Sorts by time."""
    return f"{started:%Y-%m-%dT%H%M%S}.{started.microsecond // 1000:03}-{_host()}-{os.getpid()}"


class RootLock:
    """Holds a root for one run: `with RootLock(root, run):`. Entering raises BusyError, or StorageError.

    While another run holds it, `patience(message)` is called: it waits, and returns whether to try again.
    `exclusive` is False where the disk has no locks; the run then continues, protected by its renames only.
    """

    def __init__(self, root: Path, run: str, patience: Callable[[str], bool] = lambda busy: False) -> None:
        self.root, self.run, self._patience = root, run, patience
        self.exclusive = False
        self._handle: int | None = None

    def __enter__(self) -> Self:
        place = self.root / _NAME
        with filesystem.storing(self.root):
            handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(handle):
                busy = _busy(self.root, holder(self.root))
                if not self._patience(busy):
                    raise BusyError(busy)
            self.exclusive = True
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise filesystem.storage_error(error, place) from error
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        _forget_in_children(self)
        note = {"pid": os.getpid(), "host": _host(), "since": _now(), "run": self.run}
        self._write(json.dumps(note, ensure_ascii=False) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            try:
                self._write("")
            finally:
                os.close(self._handle)  # the file stays: removing it would let two runs lock two files of one name
                self._handle, self.exclusive = None, False

    @property
    def alone(self) -> bool:
        """Whether no other run can work on this root: the lock is held, and the disk is local."""
        return self.exclusive and not on_share(self.root)

    def alive(self, run: str) -> bool:
        """Whether another run may still be working, for the holder of this lock.

        On a local disk every other run is dead, since this lock is held. So is a run of this machine on a share. Not
        every share passes locks between machines: there, a run of another machine counts as alive until its folder in
        working/ has not changed for a day.
        """
        if run == self.run or not self.exclusive:
            return True
        if f"-{_host()}-" in run or not on_share(self.root):
            return False
        try:
            places = [place for place, _, _ in os.walk(self.root / "working" / run)]
            touched = max((os.stat(place).st_mtime for place in places), default=0.0)
        except FileNotFoundError:
            return True  # it just changed
        return time.time() - touched < FOREIGN_RUN_TIMEOUT_S

    def check(self) -> None:
        """Raises StorageError where the root was unmounted, which may leave an empty folder.

        Compares devices, not inodes: on some shares a file's inode number changes.
        """
        with filesystem.storing(self.root):
            here = os.stat(self.root / _NAME)
            if self._handle is not None and os.fstat(self._handle).st_dev != here.st_dev:
                raise FileNotFoundError(errno.ENOENT, "another disk is mounted there")

    def _write(self, text: str) -> None:
        if self._handle is None:
            return
        with filesystem.storing(self.root / _NAME):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, text.encode(), 0)

    def _forget(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextmanager
def writing(root: Path, job: str) -> Iterator[None]:
    """The lock of a job's records and tables, held for short writes by a run or by a manual correction.

    Waits until it is free. Does nothing where the disk has no locks. Not reentrant. Raises StorageError.
    """
    place = filesystem.folder(root, ".locks") / filesystem.child(job)
    with filesystem.storing(place):
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
    try:
        yield
    finally:
        os.close(handle)


def holder(root: Path) -> dict[str, Any]:
    """The run that holds the root: pid, host, since, run. Empty where none does, or where it is just starting.

    Raises StorageError where the lock file cannot be read.
    """
    with filesystem.storing(root / _NAME):
        try:
            handle = os.open(root / _NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
            with open(handle, "rb") as file:
                if _free(file.fileno()):
                    return {}  # left by a killed run
                note = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return {}
    return note if isinstance(note, dict) else {}


def _free(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locked(handle: int) -> bool:
    """Takes the lock. Tries several times: `holder` in another process takes it for a moment."""
    for wait_s in (*RETRY_WAITS_S, None):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if wait_s:
                time.sleep(wait_s)
    return False


def _busy(root: Path, note: dict[str, Any]) -> str:
    who = "another run"
    if note:
        who = f"run {note.get('run')} (process {note.get('pid')} on {note.get('host')}, since {note.get('since')})"
    return f"{root} is being worked on by {who}. Wait until it is done, or stop it there first."


def on_share(root: Path) -> bool:
    """Whether the root is on a disk that other machines may write to; True where this is not known."""
    place = str(root.resolve())
    best, kind = "", "unknown"
    try:
        mounts = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return True
    for line in mounts:  # id parent major:minor root MOUNT options… - TYPE source options
        left, _, right = line.partition(" - ")
        escaped = os.fsencode(left.split()[4]).decode("unicode_escape")  # blanks are written \040
        mount = os.fsdecode(escaped.encode("latin-1")).rstrip("/")
        if (place == mount or place.startswith(f"{mount}/")) and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind == "unknown" or kind.removeprefix("fuse.").startswith(_SHARES)


def _forget_in_children(lock: RootLock) -> None:
    """Close the lock's handle in forked processes: else they hold the root after this process was killed."""
    known = weakref.ref(lock)

    def forget() -> None:
        if (here := known()) is not None:
            here._forget()

    os.register_at_fork(after_in_child=forget)


def _host() -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in socket.gethostname()) or "host"


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
