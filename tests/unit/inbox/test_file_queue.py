"""Real files in real folders: what is claimed, what waits, and where everything ends."""

import errno
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import DocumentError, StorageError
from pipeline.inbox.file_queue import Inbox, Where
from tests.support.builders import drop_file, files

BOX = "rechnungen"
ODD_NAMES = [
    "发票 №1.pdf",
    "-rf.pdf",
    "two\nlines.pdf",
    "a" * 251 + ".pdf",
    os.fsdecode(b"latin-\xe9.pdf"),
    "no suffix",
    "sub/deep/x.pdf",
    "quote'\".pdf",
]


class Clock:
    """Wall clock and monotonic clock of a test, in seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    made = Inbox(tmp_path, "run-1", settle_s=0.0)
    made.make([BOX])
    return made


def drop(root: Path, name: str = "a.pdf", content: bytes = b"%PDF", box: str = BOX) -> Path:
    return drop_file(root, name, content, box)


def test_a_file_is_claimed_read_and_finished_by_day(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "a.pdf", b"hello")
    [claim] = inbox.claims([BOX])
    document = claim.document
    assert (document.id, document.name, document.inbox) == (sha256(b"hello").hexdigest(), "a.pdf", BOX)
    assert document.path.read_bytes() == b"hello"
    assert document.size_bytes == 5
    assert document.received_at.tzinfo is not None
    assert files(tmp_path, "working") == [f"run-1/{BOX}/a.pdf"]
    place = inbox.finish(document, "done")
    assert place == tmp_path / "done" / BOX / time.strftime("%Y-%m-%d") / "a.pdf"
    assert place.read_bytes() == b"hello"
    inbox.close()
    assert list((tmp_path / "working").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        *("a.pdf.part", "a.TMP", "~$letter.pdf", "a.crdownload", "a.filepart", "a.partial", ".a.swp", "a.swp"),
        *(".hidden.pdf", ".folder/a.pdf", "Thumbs.db", "a.pdf.error.json"),
    ],
)
def test_unfinished_and_foreign_names_stay_where_they_are(inbox: Inbox, tmp_path: Path, name: str) -> None:
    path = drop(tmp_path, name)
    assert list(inbox.claims([BOX])) == []
    assert inbox.boxes.waiting([BOX]) == {BOX: 0}
    assert path.exists()


def test_a_file_settles_between_two_looks_or_by_both_of_its_times(tmp_path: Path, clock: Clock) -> None:
    inbox = Inbox(tmp_path, "r", settle_s=2.0, now=time.time, clock=lambda: clock.ahead)
    inbox.make([BOX])
    path = drop(tmp_path)
    os.utime(path, (1e9, 1e9))  # an old time of change, yet it arrived just now
    assert list(inbox.boxes.scan([BOX])) == []
    assert inbox.boxes.settling == 1
    clock.ahead = 1.9
    assert list(inbox.boxes.scan([BOX])) == []
    path.write_bytes(b"more")  # still being copied: the two seconds begin again
    clock.ahead = 2.5
    assert list(inbox.boxes.scan([BOX])) == []
    clock.ahead = 4.6
    assert [dropped.name for dropped in inbox.boxes.scan([BOX])] == ["a.pdf"]
    assert inbox.boxes.settling == 0


def test_files_that_rested_long_enough_settle_at_the_first_look(tmp_path: Path, clock: Clock) -> None:
    inbox = Inbox(tmp_path, "r", settle_s=2.0, now=clock.now)
    inbox.make([BOX])
    drop(tmp_path)
    future = drop(tmp_path, "from-tomorrow.pdf")
    os.utime(future, (time.time() + 86400,) * 2)
    assert list(inbox.boxes.scan([BOX])) == []
    clock.ahead = 3.0
    assert sorted(dropped.name for dropped in Inbox(tmp_path, "r", now=clock.now).boxes.scan([BOX])) == [
        "a.pdf",
        "from-tomorrow.pdf",
    ]
    clock.ahead = -3600.0  # this machine's clock is behind the share's: only two looks tell
    late = Inbox(tmp_path, "r", now=clock.now, clock=lambda: time.monotonic() + max(0.0, clock.ahead))
    assert list(late.boxes.scan([BOX])) == []
    clock.ahead = 3.0
    assert len(list(late.boxes.scan([BOX]))) == 2


def test_a_file_that_changed_after_the_look_is_left(inbox: Inbox, tmp_path: Path) -> None:
    path = drop(tmp_path)
    [dropped] = inbox.boxes.scan([BOX])
    path.write_bytes(b"the next version, half copied")
    assert inbox.claim(dropped) is None
    assert path.exists()


def test_what_somebody_else_took_is_skipped(tmp_path: Path) -> None:
    first, second = Inbox(tmp_path, "r1", 0.0), Inbox(tmp_path, "r2", 0.0)
    first.make([BOX])
    for number in range(20):
        drop(tmp_path, f"{number:02}.pdf", str(number).encode())
    pairs = list(zip(first.boxes.scan([BOX]), second.boxes.scan([BOX]), strict=True))
    claims = [claim for mine, theirs in pairs for claim in (first.claim(mine), second.claim(theirs)) if claim]
    assert sorted(claim.document.name for claim in claims) == [f"{number:02}.pdf" for number in range(20)]
    assert {claim.run for claim in claims} == {"r1"}


def test_the_longest_waiting_file_comes_first_and_names_break_ties(inbox: Inbox, tmp_path: Path) -> None:
    for name, when in (("b.pdf", 200), ("c.pdf", 100), ("a.pdf", 200)):
        os.utime(drop(tmp_path, name), (when, when))
    assert [dropped.name for dropped in inbox.boxes.scan([BOX])] == ["c.pdf", "a.pdf", "b.pdf"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("where", ["done", "failed", "duplicate", "back"])
def test_any_name_goes_every_way(inbox: Inbox, tmp_path: Path, name: str, where: str) -> None:
    drop(tmp_path, name, b"x")
    [claim] = inbox.claims([BOX])
    assert claim.document.name == name
    if where == "back":
        assert inbox.give_back(claim.document) == tmp_path / "inbox" / BOX / name
        return
    error = DocumentError("broken", "page 2") if where == "failed" else None
    place = inbox.finish(claim.document, where, error)  # type: ignore[arg-type]
    assert place.read_bytes() == b"x"
    assert files(tmp_path, "working") == files(tmp_path, "inbox") == []
    if error:
        note = json.loads(Path(f"{place}.error.json").read_text("utf-8"))
        assert note["file"] == name
        assert [note[key] for key in ("code", "detail", "run", "where")] == [
            "broken",
            "page 2",
            "run-1",
            f"inbox/{BOX}/{name}",
        ]
        assert "damaged" in note["what"]
        assert "save or scan it again" in note["what_to_do"]


def test_nothing_is_ever_overwritten(inbox: Inbox, tmp_path: Path) -> None:
    for content in (b"1", b"2", b"3"):
        for where in ("done", "failed", "duplicate"):
            drop(tmp_path, "scan.pdf", content)
            [claim] = inbox.claims([BOX])
            inbox.finish(claim.document, where, DocumentError("empty") if where == "failed" else None)  # type: ignore[arg-type]
    day = time.strftime("%Y-%m-%d")
    for folder in (tmp_path / "done" / BOX / day, tmp_path / "failed" / BOX, tmp_path / "duplicate" / BOX):
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".pdf"}
        assert found == {"scan.pdf": b"1", "scan (2).pdf": b"2", "scan (3).pdf": b"3"}
    assert len(list((tmp_path / "failed" / BOX).glob("*.pdf.error.json"))) == 3


def test_a_file_that_grows_while_it_is_read_goes_back_whole(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody still has it open: what was claimed is what goes on growing."""
    path = drop(tmp_path, "scan.pdf", b"half")
    with open(path, "ab") as writer:

        def growing(file: BinaryIO, name: str) -> Any:
            found = file_digest(file, name)
            writer.write(b" and half")
            writer.flush()
            return found

        monkeypatch.setattr("pipeline.inbox.claim.hashlib.file_digest", growing)
        assert list(inbox.claims([BOX])) == []
    monkeypatch.undo()
    assert path.read_bytes() == b"half and half"


def test_a_name_dropped_again_while_the_first_is_in_work(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "scan.pdf", b"1")
    [first] = inbox.claims([BOX])
    drop(tmp_path, "scan.pdf", b"2")
    [second] = inbox.claims([BOX])
    assert (first.document.path.read_bytes(), second.document.path.read_bytes()) == (b"1", b"2")
    assert first.document.name == second.document.name == "scan.pdf"
    drop(tmp_path, "scan.pdf", b"3")
    assert inbox.give_back(first.document).name == "scan (2).pdf"


def test_long_names_keep_their_suffix_when_they_are_numbered(inbox: Inbox, tmp_path: Path) -> None:
    name = "票" * 83 + ".pdf"  # 253 bytes
    places = []
    for content in (b"1", b"2"):
        drop(tmp_path, name, content)
        [claim] = inbox.claims([BOX])
        places.append(inbox.finish(claim.document, "failed", DocumentError("broken")))
    assert all(len(os.fsencode(place.name)) + len(".error.json") <= 255 for place in places)
    assert places[0].name.endswith("票.pdf")
    assert places[1].name.endswith("票 (2).pdf")


@pytest.mark.parametrize("kind", ["link to file", "link to folder", "broken link", "pipe", "socket"])
def test_what_is_not_a_file_fails_and_is_never_followed(inbox: Inbox, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "private.pdf").write_bytes(b"private")
    thing = tmp_path / "inbox" / BOX / "thing.pdf"
    if kind == "pipe":
        os.mkfifo(thing)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(thing.parent)  # a socket's path may hold 107 bytes only
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(thing.name)
        os.chdir(here)
    else:
        target = {"link to file": secret / "private.pdf", "link to folder": secret}.get(kind, tmp_path / "nowhere")
        thing.symlink_to(target)
    [claim] = inbox.claims([BOX])
    assert claim.error is not None
    assert claim.error.code == "not_a_file"
    place = inbox.finish(claim.document, "failed", claim.error)
    assert not os.path.lexists(thing)
    assert stat.S_IFMT(os.lstat(place).st_mode) != stat.S_IFREG
    assert Path(f"{place}.error.json").is_file()
    assert files(secret) == ["private.pdf"]


def test_folders_are_gone_into_and_left(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "2024/May/a.pdf")
    (tmp_path / "inbox" / BOX / "empty").mkdir()
    [claim] = inbox.claims([BOX])
    assert claim.document.name == "2024/May/a.pdf"
    inbox.finish(claim.document, "duplicate")
    assert files(tmp_path, "duplicate") == [f"{BOX}/2024/May/a.pdf"]
    assert (tmp_path / "inbox" / BOX / "empty").is_dir()
    assert (tmp_path / "inbox" / BOX / "2024" / "May").is_dir()


def test_a_file_without_read_rights_fails_with_a_reason(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(tmp_path).chmod(0)
    if os.geteuid() == 0:  # the system lets root read everything: refuse in its place
        opened = os.open

        def refusing(path: str, flags: int, mode: int = 0o777, **rest: int) -> int:
            if Path(path).suffix == ".pdf" and stat.S_IMODE(os.lstat(path).st_mode) == 0:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return opened(path, flags, mode, **rest)

        monkeypatch.setattr(os, "open", refusing)
    [claim] = inbox.claims([BOX])
    assert claim.error is not None
    assert claim.error.code == "not_readable"
    assert len(claim.document.id) == 64
    assert inbox.finish(claim.document, "failed", claim.error).exists()


def test_a_document_that_was_taken_out_of_working_is_finished_all_the_same(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path)
    [claim] = inbox.claims([BOX])
    claim.document.path.unlink()
    inbox.finish(claim.document, "failed", DocumentError("vanished"))
    assert files(tmp_path, "failed") == [f"{BOX}/a.pdf.error.json"]


def test_recover_shows_what_dead_runs_had_and_spares_the_living(tmp_path: Path) -> None:
    for run, name in (("dead", "sub/a.pdf"), ("dead", "b.pdf"), ("alive", "c.pdf")):
        inbox = Inbox(tmp_path, run, 0.0)
        inbox.make([BOX])
        drop(tmp_path, name, name.encode())
        assert len(list(inbox.claims([BOX]))) == 1
    mine = Inbox(tmp_path, "mine", 0.0)
    found = list(mine.recover(lambda run: run == "alive"))
    assert [(claim.run, claim.document.name, claim.document.inbox) for claim in found] == [
        ("dead", "b.pdf", BOX),
        ("dead", "sub/a.pdf", BOX),
    ]
    assert found[0].document.id == sha256(b"b.pdf").hexdigest()
    mine.give_back(found[0].document)
    mine.finish(found[1].document, "done")
    mine.close()
    assert files(tmp_path, "inbox") == [f"{BOX}/b.pdf"]
    assert [path.name for path in (tmp_path / "working").iterdir()] == ["alive"]


def test_a_crash_inside_a_move_leaves_one_file_after_the_next_move(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path)
    [claim] = inbox.claims([BOX])
    os.link(claim.document.path, tmp_path / "inbox" / BOX / "a.pdf")  # killed between the link and the unlink
    assert inbox.give_back(claim.document) == tmp_path / "inbox" / BOX / "a.pdf"
    assert files(tmp_path, "working") == []
    assert files(tmp_path, "inbox") == [f"{BOX}/a.pdf"]


@pytest.mark.parametrize("where", ["done", "failed", "duplicate"])
def test_a_crash_inside_an_ending_doubles_nothing(inbox: Inbox, tmp_path: Path, where: Where) -> None:
    error = DocumentError("broken") if where == "failed" else None
    drop(tmp_path)
    [claim] = inbox.claims([BOX])
    place = inbox.finish(claim.document, where, error)
    os.link(place, claim.document.path)
    assert inbox.finish(claim.document, where, error) == place
    assert len([name for name in files(tmp_path) if name.endswith(".pdf")]) == 1


MOVE_FOREVER = """
import os, random, signal, sys, time; from pathlib import Path
from pipeline.core.errors import DocumentError
from pipeline.inbox.file_queue import Inbox
root, chance = Path(sys.argv[1]), random.Random(11)
for round in range(25):
    child = os.fork()
    if child == 0:
        inbox = Inbox(root, f"run-{round}", settle_s=0.0)
        for claim in inbox.recover(lambda run: False):
            inbox.give_back(claim.document)
        while True:
            for claim in inbox.claims(["box"]):
                act = chance.choice(["failed", "back", "back"])
                if act == "back":
                    inbox.give_back(claim.document)
                else:
                    inbox.finish(claim.document, "failed", DocumentError("broken"))
            inbox.retry()
    time.sleep(chance.uniform(0.01, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_killed_twenty_five_times_no_file_is_lost_or_doubled(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "last", settle_s=0.0)
    inbox.make(["box"])
    for number in range(30):
        drop(tmp_path, f"{number:02}.pdf", str(number).encode(), box="box")
    subprocess.run([sys.executable, "-c", MOVE_FOREVER, str(tmp_path)], check=True)
    for claim in inbox.recover(lambda run: False):
        inbox.give_back(claim.document)
    inbox.retry()
    inbox.close()
    found = {path: path.read_bytes() for path in (tmp_path / "inbox" / "box").iterdir()}
    assert sorted(found.values(), key=int) == [str(number).encode() for number in range(30)]
    assert files(tmp_path, "failed") == files(tmp_path, "working") == []


def test_disks_without_hard_links_overwrite_nothing_either(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for content in (b"1", b"2"):
        drop(tmp_path, "a.pdf", content)
        [claim] = inbox.claims([BOX])
        inbox.finish(claim.document, "duplicate")
    assert files(tmp_path, "duplicate") == [f"{BOX}/a (2).pdf", f"{BOX}/a.pdf"]
    assert (tmp_path / "duplicate" / BOX / "a.pdf").read_bytes() == b"1"


def test_retry_brings_back_files_without_their_notes(inbox: Inbox, tmp_path: Path) -> None:
    for name in ("a.pdf", "sub/b.pdf"):
        drop(tmp_path, name)
        [claim] = inbox.claims([BOX])
        inbox.finish(claim.document, "failed", DocumentError("too_slow"))
    assert inbox.retry() == [f"{BOX}/a.pdf", f"{BOX}/sub/b.pdf"]
    assert files(tmp_path, "inbox") == [f"{BOX}/a.pdf", f"{BOX}/sub/b.pdf"]
    assert files(tmp_path, "failed") == []
    assert inbox.retry(["another"]) == []


def test_waiting_counts_each_box(inbox: Inbox, tmp_path: Path) -> None:
    inbox.make([BOX, "empty"])
    drop(tmp_path, "a.pdf")
    drop(tmp_path, "sub/b.pdf")
    assert inbox.boxes.waiting([BOX, "empty"]) == {BOX: 2, "empty": 0}


def test_new_folders_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        Inbox(tmp_path, "r").make([BOX])
    finally:
        os.umask(before)
    for folder in (tmp_path / "inbox", tmp_path / "inbox" / BOX):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_root_that_went_away_is_named_and_not_made_again(tmp_path: Path) -> None:
    gone = tmp_path / "share"
    inbox = Inbox(gone, "r", 0.0)
    with pytest.raises(StorageError, match=r"share.*Connect"):
        inbox.make([BOX])
    with pytest.raises(StorageError, match=rf"{BOX}.*not there"):
        list(inbox.claims([BOX]))
    assert not gone.exists()


def test_an_inbox_that_went_away_is_not_made_again(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path)
    [claim] = inbox.claims([BOX])
    shutil.rmtree(tmp_path / "inbox")
    with pytest.raises(StorageError, match="inbox: the folder is not there"):
        inbox.give_back(claim.document)
    assert not (tmp_path / "inbox").exists()
    assert claim.document.path.exists()


def test_every_move_asks_first_whether_the_root_is_what_it_was(tmp_path: Path) -> None:
    def gone() -> None:
        raise StorageError("another disk lies there")

    drop(tmp_path)
    with pytest.raises(StorageError, match="another disk"):
        list(Inbox(tmp_path, "r", 0.0, check=gone).claims([BOX]))
    assert not (tmp_path / "working").exists()


def test_a_box_on_another_disk_is_reported_and_the_rest_goes_on(inbox: Inbox, tmp_path: Path, other_disk: Path) -> None:
    (other_disk / "far.pdf").write_bytes(b"x")
    (tmp_path / "inbox" / "far").symlink_to(other_disk)
    drop(tmp_path)
    assert [claim.document.name for claim in inbox.claims(["far", BOX])] == ["a.pdf"]
    [(path, why)] = inbox.boxes.stuck.items()
    assert path.endswith("far.pdf")
    assert "another disk" in why


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second writable file system at /dev/shm")
    place = shm / f"scanmill-test-{os.getpid()}"
    place.mkdir(exist_ok=True)
    yield place
    shutil.rmtree(place)


def test_ten_thousand_files_are_scanned_in_a_second(inbox: Inbox, tmp_path: Path) -> None:
    box = tmp_path / "inbox" / BOX
    for number in range(10_000):
        os.close(os.open(box / f"{number}.pdf", os.O_CREAT | os.O_WRONLY))
    started = time.process_time()
    found = inbox.boxes.scan([BOX])
    next(found)
    assert time.process_time() - started < 1.0


@given(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=300),
    st.integers(1, 10**6),
)
@settings(deadline=None)
def test_numbered_names_fit_and_differ(name: str, number: int) -> None:
    from pipeline.system.filesystem import numbered

    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:  # lone surrogates that no file system gives
        return
    made = numbered(name, number, 11)
    assert len(os.fsencode(made)) <= 255 - 11
    if number == 1 and size <= 255 - 11:
        assert made == name
    if number > 1:
        assert f" ({number})" in made
        assert made != numbered(name, number + 1, 11)


def test_only_failed_documents_have_an_error(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path)
    [claim] = inbox.claims([BOX])
    wrong: list[Callable[[], object]] = [
        lambda: inbox.finish(claim.document, "failed"),
        lambda: inbox.finish(claim.document, "done", DocumentError("broken")),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="failed documents have an error"):
            call()
