"""Take the disk away from a run: full, read-only, gone, and with a clock that jumps.

    python tests/stress/storage.py [TRIAL]…

Each time the run must stop with exit code 3 and name the place and the cure; once the disk is mended, the next run
must end as one that was never disturbed. Trials that need to mount, or to be another user, are skipped where that is
not allowed.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.stress import launch
from tests.stress.night import Night, copied, lay_out
from tests.stress.outcome import contents, differences, outcome, unsettled
from tests.stress.verdict import Skipped, Trial, chosen, exit_code, held

CANNOT_RUN = 3
DOCUMENTS = 36
ROOMS_KIB = (0, 4, 16, 40, 80, 160)  # how much of the disk is left, so that it fills up at different steps
Found = tuple[str, list[str]]


class Stage:
    """A place to hold trials in: what an undisturbed night ends as, and fresh nights."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.template = lay_out(place / "template", DOCUMENTS)
        self.dropped = contents(self.template.root / "inbox")
        left_alone = self.fresh(place / "alone")
        self.seconds = -time.monotonic()
        launch.start(left_alone.words, place / "alone.txt").wait()
        self.seconds += time.monotonic()
        self.expected = outcome(left_alone.root)

    def fresh(self, root: Path) -> Night:
        return copied(self.template, root)

    def run(self, night: Night, before: Callable[[], None] = lambda: None) -> tuple[int, str]:
        """The exit code and what was said."""
        said = self.place / "said.txt"
        said.unlink(missing_ok=True)
        code = launch.start(night.words, said, before).wait()
        return code, said.read_text()

    def mended(self, night: Night, before: Callable[[], None] = lambda: None) -> list[str]:
        """What is wrong after the next run."""
        code, said = self.run(night, before)
        found = unsettled(night.root, self.dropped) + differences(self.expected, outcome(night.root))
        return found if code in (0, 1) else [f"the next run ended with {code}: {said}", *found]


def _stopped(code: int, said: str, *words: str) -> tuple[str, list[str]]:
    """The last line that was said; faults where the run did not stop in the right way."""
    last = (said.strip().splitlines() or [""])[-1]
    faults = [] if code == CANNOT_RUN else [f"exit code {code} instead of {CANNOT_RUN}: {said}"]
    faults += [f"{word!r} is not in the words: {last}" for word in words if word not in last]
    if "Traceback" in said:
        faults.append(said)
    return last, faults


@contextmanager
def _mounted(place: Path, size: str) -> Iterator[None]:
    """A small disk of its own at `place`. Raises Skipped where that is not allowed."""
    place.mkdir()
    if not _says_yes("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)):
        raise Skipped("no right to mount a disk here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def _says_yes(*words: str) -> bool:
    return (
        shutil.which(words[0]) is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0
    )


def full_disk(stage: Stage, room_kib: int) -> Found:
    root = stage.place / f"full{room_kib}"
    with _mounted(root, "8m"):
        night, ballast = stage.fresh(root), root / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        os.truncate(ballast, ballast.stat().st_size - room_kib * 1024)
        said, faults = _stopped(*stage.run(night), "the disk is full", str(root))
        ballast.unlink()
        return said, faults + stage.mended(night)


def read_only_disk(stage: Stage) -> Found:
    root = stage.place / "read_only"
    with _mounted(root, "8m"):
        night = stage.fresh(root)
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        said, faults = _stopped(*stage.run(night), "the disk is read-only", str(root))
        subprocess.run(["mount", "-o", "remount,rw", str(root)], check=True)
        return said, faults + stage.mended(night)


def read_only_folder(stage: Stage, folder: str) -> Found:
    """Without the right to write there."""
    night = stage.fresh(stage.place / f"forbidden_{folder}")
    (night.root / folder).mkdir(exist_ok=True)
    (night.root / folder).chmod(0o555)
    said, faults = _stopped(*stage.run(night, _an_ordinary_user), "no right to write", folder)
    (night.root / folder).chmod(0o755)
    return said, faults + stage.mended(night)


def _an_ordinary_user() -> None:
    """The superuser without its power over rights (CAP_DAC_OVERRIDE, number 1); anybody else as they are."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) == 0:
        sets[0] &= ~2
        if libc.capset(header, sets) == 0:
            return
    raise OSError(ctypes.get_errno(), "the superuser cannot lay down its power here")


def _when_records_lie(night: Night, count: int, act: Callable[[], object], said: Path) -> int:
    """Runs, and acts once so many records are written; the exit code."""
    run = launch.start(night.words, said)
    records = night.root / "records" / "note"
    until = time.monotonic() + 30
    while not (records.is_dir() and len(os.listdir(records)) >= count) and time.monotonic() < until:
        time.sleep(0.001)
    act()
    return run.wait()


def folder_gone(stage: Stage) -> Found:
    """The root is renamed away under the run, as when a share is remounted elsewhere."""
    night, away, said = stage.fresh(stage.place / "gone"), stage.place / "away", stage.place / "gone.txt"
    code = _when_records_lie(night, 5, lambda: night.root.rename(away), said)
    last, faults = _stopped(code, said.read_text(), "the folder is not there", str(night.root))
    if night.root.exists():
        faults.append(f"the run made {night.root} again")
        shutil.rmtree(night.root)
    code, words = stage.run(night)
    if code != 2 or str(night.root) not in words:
        faults.append(f"a run without its folder ended with {code}: {words}")
    away.rename(night.root)
    return last, faults + stage.mended(night)


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "-l", str(place)], check=True)


def share_gone(stage: Stage, records: int) -> Found:
    """The disk is unmounted under the run: an empty folder stays in its place, and must stay empty."""
    root, said = stage.place / f"share{records}", stage.place / f"share{records}.txt"
    keep = stage.place / f"keep{records}"
    with _mounted(root, "16m"):
        night = stage.fresh(root)
        keep.mkdir()
        subprocess.run(["mount", "--bind", str(root), str(keep)], check=True)
        try:
            code = _when_records_lie(night, records, lambda: _unmount(root), said)
            last, faults = _stopped(code, said.read_text(), str(root))
            # The one write that was on its way may have landed there; nothing else may.
            faults += [
                f"{name} was made in the empty mount point" for name in ("inbox", "working") if (root / name).exists()
            ]
            shutil.rmtree(root)
            root.mkdir()
            subprocess.run(["mount", "--bind", str(keep), str(root)], check=True)
            return last, faults + stage.mended(night)
        finally:
            subprocess.run(["umount", "-l", str(keep)], check=False, capture_output=True)


def clock_jumps(stage: Stage, jump_s: float) -> Found:
    night = stage.fresh(stage.place / f"clock{jump_s:.0f}")
    code, said = stage.run(night, partial(launch.jump_clock, night.root / "records" / "note", jump_s))
    faults = [] if code in (0, 1) else [f"exit code {code}: {said}"]
    faults += unsettled(night.root, stage.dropped)
    faults += differences(stage.expected, outcome(night.root))
    again = stage.run(night)
    if again[0] != 0:
        faults.append(f"the next run ended with {again}")
    return said.strip().splitlines()[-1], faults


def main() -> None:
    launch.load()
    with tempfile.TemporaryDirectory() as place:
        stage = Stage(Path(place))
        trials: list[Trial] = [
            *((f"full_disk, {room} KiB left", partial(full_disk, stage, room)) for room in ROOMS_KIB),
            ("read_only_disk", partial(read_only_disk, stage)),
            *((f"read_only_folder {name}", partial(read_only_folder, stage, name)) for name in FOLDERS),
            ("folder_gone", partial(folder_gone, stage)),
            *((f"share_gone after {count} records", partial(share_gone, stage, count)) for count in (0, 5, 10, 14)),
            ("clock_jumps a day back", partial(clock_jumps, stage, -86400)),
            ("clock_jumps a year ahead", partial(clock_jumps, stage, 365 * 86400)),
        ]
        raise SystemExit(exit_code(held(chosen(__doc__, trials))))


FOLDERS = ("results", "records", "working", "done", "runs", ".tmp")

if __name__ == "__main__":
    main()
