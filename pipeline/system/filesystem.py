"""Atomic writes, moves that never overwrite, and storage errors that say what to do.

Temporary files are in `<root>/.tmp/`, on the disk of the root, so that a rename from there is atomic and no reader of
results/ or records/ sees one.
"""

import errno
import hashlib
import itertools
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core.errors import StorageError
from pipeline.core.safe_text import printable as printable
from pipeline.core.safe_text import sanitize

NAME_BYTES = 255  # the longest file name of ext4, XFS, APFS and NTFS shares
_SUFFIX_BYTES = 16  # a longer "suffix" is part of a sentence
_SCRATCH = ".tmp"
_NUMBERS = re.compile(r" \((\d{1,9})\)")

_CURES = {
    errno.ENOSPC: "the disk is full. Free some space and run again.",
    errno.EDQUOT: "the quota of this user is used up. Free some space and run again.",
    errno.EROFS: "the disk is read-only. Mount it for writing, or choose another root.",
    errno.EACCES: "Scanmill has no right to write there. Give the user that runs it read and write rights.",
    errno.EPERM: "Scanmill has no right to write there. Give the user that runs it read and write rights.",
    errno.ENOENT: "the folder is not there. Connect the disk or share, or make the folder.",
    errno.ENOTDIR: "a file or a broken link is where a folder should be. Move it away.",
    errno.EXDEV: "it is on another disk than the root. Keep all folders of a root on one disk.",
    errno.ENAMETOOLONG: "the name is too long for this disk. Shorten the names of the folders.",
}
_GONE = "the disk or share does not answer. Connect it and run again."
# File systems without hard links, and kernels that refuse links to other people's files, say one of these.
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def storage_error(error: OSError, place: Path | str) -> StorageError:
    """A StorageError that names the place, the cause and what to do."""
    if error.errno in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENODEV):
        cure = _GONE
    else:
        cure = _CURES.get(error.errno or 0, f"{error.strerror or error}. Nothing was lost; repair it and run again.")
    return StorageError(f"{sanitize(place)}: {cure}")


@contextmanager
def storing(place: Path | str) -> Iterator[None]:
    """Turns an OSError inside into a StorageError that names `place`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, place) from error


def read_file(place: Path | str, most_bytes: int = -1) -> bytes:
    """The bytes of a file, at most `most_bytes`. Raises OSError, also for a pipe or device, without waiting for it."""
    _must_be_file(os.stat(place))
    with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _must_be_file(os.fstat(file.fileno()))
        return file.read(most_bytes)


def _must_be_file(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"it is {kind(found.st_mode)}, not a file")


def kind(mode: int) -> str:
    """The kind of something that is not a regular file: "a folder", "a pipe", …"""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def child(name: str) -> str:
    """The name, if it is one path component. Raises ValueError for any that would leave its folder."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of one file or folder")
    return name


def folder(root: Path, *parts: str) -> Path:
    """The folder `root/parts…`, created with mode 0o700 where it is missing.

    Never creates `root`: an unmounted share must not look like an empty inbox.
    """
    here = root.joinpath(*parts)
    with storing(here):
        if here.is_dir():
            return here
    here = root
    for part in parts:
        here = here / child(part)
        with storing(here):
            try:
                os.mkdir(here, 0o700)
                os.chmod(here, 0o700)
            except FileNotFoundError as error:
                raise storage_error(error, here.parent) from error
            except FileExistsError:
                if not here.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(here)) from None
    if not parts:
        raise storage_error(FileNotFoundError(errno.ENOENT, "not there"), root)
    return here


def sync(place: Path) -> None:
    """Flush a file, or the renames inside a folder, to the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shares do not support it
            raise
    finally:
        os.close(handle)


def scratch(root: Path, name: str) -> Path:
    """A new path for a temporary file that will become `name`."""
    return folder(root, _SCRATCH) / f"{secrets.token_hex(8)}.{name[:64]}"


def write_scratch(root: Path, name: str, data: bytes, durable: bool = True) -> Path:
    """Write a temporary file, to be renamed. `durable`: wait until the disk has it."""
    place = scratch(root, name)
    with storing(place), open(place, "xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    return place


def write_atomic(root: Path, target: Path, data: bytes) -> None:
    """Replace `target` atomically: a reader sees the old bytes or all of the new ones."""
    place = write_scratch(root, target.suffix, data)
    with storing(target):
        os.replace(place, target)
        sync(target.parent)


def sha256_of(place: Path, advance: Callable[[int], None] = lambda done: None) -> str:
    """SHA-256 of a file in hex. `advance` is called with the size of each block read. Raises OSError."""
    total = hashlib.sha256()
    with place.open("rb") as file:
        while block := file.read(1 << 22):
            total.update(block)
            advance(len(block))
    return total.hexdigest()


def sweep(root: Path, older_s: float) -> int:
    """Remove temporary files of killed runs that are at least `older_s` old (0: all); returns their number.

    Newer ones may belong to a run on another machine.
    """
    removed = 0
    with storing(root / _SCRATCH), suppress(FileNotFoundError):
        for entry in list(os.scandir(root / _SCRATCH)):
            # 0 is tested apart: after a clock was set back, files may be from the future
            if not older_s or time.time() - entry.stat(follow_symlinks=False).st_mtime >= older_s:
                os.unlink(entry.path)
                removed += 1
    return removed


def numbered(name: str, number: int, spare: int = 0) -> str:
    """The name with " (number)" before its suffix from 2 on, cut to NAME_BYTES - `spare` bytes."""
    stem, dot, end = name.rpartition(".")
    if not stem or len(os.fsencode(end)) > _SUFFIX_BYTES:
        stem, dot, end = name, "", ""
    end = (f" ({number})" if number > 1 else "") + dot + end
    room = NAME_BYTES - spare - len(os.fsencode(end))
    while len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return stem + end


def named_for(name: str, wanted: str) -> bool:
    """Whether `name` is `wanted`, perhaps with a number because that name was taken."""
    return name == wanted or any(numbered(wanted, int(number)) == name for number in _NUMBERS.findall(name))


def move(source: Path, target: Path) -> bool:
    """Move a file, link or pipe. Returns False where the target's name is taken by something else. Raises OSError.

    A hard link and an unlink: unlike a rename this never replaces, even on a folder shared by several machines. A crash
    between the two leaves both names on one file; the next move then only removes the old name. Where the disk has no
    hard links, it is a check and a rename, which is as safe as long as one machine writes.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        if not same(source, target):
            return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            return False
        os.rename(source, target)
        return True
    os.unlink(source)
    return True


def same(source: Path, target: Path) -> bool:
    """Whether both names are links to one file, as after a crash inside `move`."""
    return os.path.samestat(os.lstat(source), os.lstat(target))


def free_names(name: str, start: int = 1, spare: int = 0) -> Iterator[tuple[int, str]]:
    """(number, name) to try in turn: the name, then the name with (2), (3), …"""
    return ((number, numbered(name, number, spare)) for number in itertools.count(start))
