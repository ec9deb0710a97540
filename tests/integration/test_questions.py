"""Questions that come with their pictures: claimed together, ended together, and never half."""

import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from models.scripted.echo import EchoEngine
from pipeline.core.errors import ConfigError, DocumentError
from pipeline.core.types import Issue
from pipeline.engine import Engine, Partial, Reply, Request
from pipeline.inbox import grouping
from pipeline.inbox.file_queue import Claim, Inbox, Where
from pipeline.inbox.question_files import text_of
from pipeline.inbox.scanner import GRACE
from pipeline.inbox.status import status
from pipeline.reporting.run_report import RunReport
from pipeline.schema.job import Job, load_jobs, parse_job
from pipeline.schema.settings import Limits, Settings, load_settings
from tests.support.builders import drop_file, files, run_batch

BOX = "ask"


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    made = Inbox(tmp_path, "run-1", settle_s=0.0, asking=[BOX])
    made.make([BOX])
    return made


def drop(root: Path, name: str, content: bytes | str = b"picture") -> Path:
    return drop_file(root, name, content, BOX)


def only(inbox: Inbox) -> Claim:
    [claim] = inbox.claims([BOX])
    return claim


# ---- what belongs together
@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["photo.jpg", "photo.jpg.txt"], [("photo.jpg.txt", "photo.jpg")]),
        (["photo.jpg", "photo.txt"], [("photo.txt", "photo.jpg")]),
        (["photo.JPG", "photo.JPG.TXT"], [("photo.JPG.TXT", "photo.JPG")]),
        (["a.jpg", "a.png", "a.txt"], [("a.txt",), ("a.jpg",), ("a.png",)]),
        (["a.jpg", "a.png", "a.txt", "a.jpg.txt"], [("a.txt", "a.png"), ("a.jpg.txt", "a.jpg")]),
        (["scan", "scan.txt"], [("scan.txt", "scan")]),
        (["frage.txt"], [("frage.txt",)]),
    ],
)
def test_loose_files_that_belong_together(names: list[str], groups: list[tuple[str, ...]]) -> None:
    assert grouping.grouped(names) == groups


NAMES = st.lists(
    st.sampled_from(["a", "b", "a.jpg", "a.png", "b.jpg", "a.txt", "a.jpg.txt", "b.txt", "a.txt.txt"]), unique=True
)


@given(NAMES)
def test_every_file_is_in_one_group(names: list[str]) -> None:
    groups = grouping.grouped(names)
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert all(sum(grouping.is_text(name) for name in group) <= 1 for group in groups)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Was zeigt die Anzeige?\r\n", "Was zeigt die Anzeige?"),
        (b"\xef\xbb\xbf" + "压力是多少？".encode(), "压力是多少？"),
        ("压力是多少？".encode("gb18030"), "压力是多少？"),
        ("压力?".encode("utf-16"), "压力?"),
        ("\ufeff压力?".encode("utf-16-be"), "压力?"),
        (b"one\n\ntwo  ", "one\n\ntwo"),
        (b" \n", ""),
    ],
)
def test_questions_in_every_usual_encoding(raw: bytes, text: str) -> None:
    assert text_of(raw, "q.txt") == text


@given(st.binary(max_size=40))
def test_any_bytes_are_a_question_or_a_reason(raw: bytes) -> None:
    with suppress(DocumentError):
        text = text_of(raw, "q.txt")
        assert "\0" not in text
        text.encode()


# ---- claimed
def test_a_picture_and_its_question_are_one_document(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "dial.jpg")
    drop(tmp_path, "dial.jpg.txt", "What does the dial show?\n")
    assert inbox.boxes.waiting([BOX]) == {BOX: 1}
    claim = only(inbox)
    document = claim.document
    assert (document.name, document.question, claim.error) == ("dial.jpg", "What does the dial show?", None)
    assert [path.name for path in document.files] == ["dial.jpg"]
    assert files(tmp_path, "inbox") == []
    place = inbox.finish(document, "done")
    assert place == tmp_path / "done" / BOX / time.strftime("%Y-%m-%d") / "dial"
    assert files(place) == ["dial.jpg", "dial.jpg.txt"]
    inbox.close()
    assert list((tmp_path / "working").iterdir()) == []


def test_a_folder_is_one_document_with_its_pictures_in_natural_order(inbox: Inbox, tmp_path: Path) -> None:
    for name in ("10.jpg", "2.jpg", "1.jpg", "notes.txt", "more/3.jpg", ".DS_Store"):
        drop(tmp_path, f"trip/{name}")
    drop(tmp_path, "trip/Question.TXT", "Where?")
    document = only(inbox).document
    assert (document.name, document.question) == ("trip", "Where?")
    names = [str(path.relative_to(document.path)) for path in document.files]
    assert names == ["1.jpg", "2.jpg", "10.jpg", "more/3.jpg", "notes.txt"]
    assert files(inbox.finish(document, "done")) == sorted([*names, ".DS_Store", "Question.TXT"])


def test_pictures_that_differ_in_their_suffix_only_keep_their_names(inbox: Inbox, tmp_path: Path) -> None:
    for name in ("dial.jpg", "dial.png", "v1.2.jpg", "v1.2.png"):
        drop(tmp_path, name)
        drop(tmp_path, f"{name}.txt", "What does the dial show?")
    names = sorted(claim.document.name for claim in inbox.claims([BOX]))
    assert names == ["dial.jpg", "dial.png", "v1.2.jpg", "v1.2.png"]


def test_a_question_alone_has_no_pictures(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "frage.txt", "Was ist ein Manometer?")
    document = only(inbox).document
    assert (document.name, document.question, document.files) == ("frage.txt", "Was ist ein Manometer?", ())


def test_earlier_turns_of_a_conversation(inbox: Inbox, tmp_path: Path) -> None:
    drop(tmp_path, "c/question.txt", "And in bar?")
    drop(tmp_path, "c/earlier.json", json.dumps([{"question": "What is the pressure?", "answer": "1.2 MPa"}]))
    drop(tmp_path, "c/dial.jpg")
    document = only(inbox).document
    assert document.earlier == (("What is the pressure?", "1.2 MPa"),)
    assert [path.name for path in document.files] == ["dial.jpg"]


def test_another_question_is_another_document_and_the_same_is_the_same(inbox: Inbox, tmp_path: Path) -> None:
    ids = []
    for number, (picture, question) in enumerate([(b"1", "a?"), (b"1", "b?"), (b"2", "a?"), (b"1", "a?\n")]):
        drop(tmp_path, f"{number}.jpg", picture)
        drop(tmp_path, f"{number}.jpg.txt", question)
    drop(tmp_path, "x/earlier.json", '[{"question": "", "answer": ""}]')
    drop(tmp_path, "x/1.jpg", b"1")
    drop(tmp_path, "x/question.txt", "a?")
    claims = sorted(inbox.claims([BOX]), key=lambda claim: claim.document.name)
    ids = [claim.document.id for claim in claims]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("dropped", "code", "detail"),
    [
        ({"a.jpg": b"x"}, "no_question", ""),
        ({"a.jpg": b"x", "a.jpg.txt": b" \n"}, "no_question", "a.jpg.txt is empty"),
        ({"a.jpg": b"x", "a.jpg.txt": b"\x00\xff\x01"}, "no_question", "a.jpg.txt is not plain text; save it as UTF-8"),
        ({"a.jpg": b"x", "a.txt": b"x" * 70_000}, "no_question", "a.txt is longer than 64 KiB"),
        ({"f/a.jpg": b"x", "f/1.txt": b"x", "f/2.txt": b"y"}, "no_question", "2 texts (1.txt, 2.txt): call the"),
        ({"f/a.jpg": b"x", "f/1.txt": b"x", "f/earlier.json": b"{]"}, "no_question", "earlier.json is not a list of"),
        ({"a.jpg.txt": b"What?"}, "no_picture", "a.jpg is not there"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_says_why(
    inbox: Inbox, tmp_path: Path, dropped: dict[str, bytes], code: str, detail: str
) -> None:
    for name, content in dropped.items():
        drop(tmp_path, name, content)
    claim = only(inbox)
    assert claim.error is not None
    assert claim.error.code == code
    assert claim.error.detail.startswith(detail)
    place = inbox.finish(claim.document, "failed", claim.error)
    assert len(files(place)) == len(dropped)
    note = json.loads(Path(f"{place}.error.json").read_text("utf-8"))
    assert note["code"] == code
    assert inbox.retry() == [f"{BOX}/{place.name}"]
    assert files(tmp_path, "failed") == []
    if code == "no_question" and len(dropped) == 1:  # the person writes the question where the picture lies
        drop(tmp_path, f"{place.name}/a.jpg.txt", "What is this?")
        assert only(inbox).document.question == "What is this?"


def test_links_are_never_followed(inbox: Inbox, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "b.jpg").write_bytes(b"secret")
    drop(tmp_path, "a.jpg")
    (tmp_path / "inbox" / BOX / "a.jpg.txt").symlink_to(tmp_path / "secret.txt")
    drop(tmp_path, "f/q.txt", "What?")
    (tmp_path / "inbox" / BOX / "f" / "more").symlink_to(tmp_path / "secrets")
    claims = {claim.document.name: claim for claim in inbox.claims([BOX])}
    assert claims["a.jpg"].error is not None
    assert claims["a.jpg"].error.code == "no_question"
    assert [path.name for path in claims["f"].document.files] == ["more"]
    assert files(tmp_path, "secrets") == ["b.jpg"]


ODD_NAMES = [
    "发票 №1.pdf",
    "-rf.pdf",
    "two\nlines.pdf",
    "a" * 247 + ".jpg",
    "no suffix",
    "x.tmp.jpg",
    os.fsdecode(b"\xe9.pdf"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("where", ["done", "failed", "duplicate", "back"])
def test_any_name_goes_every_way(inbox: Inbox, tmp_path: Path, name: str, where: str) -> None:
    drop(tmp_path, name, b"x")
    drop(tmp_path, name + ".txt", "?")
    document = only(inbox).document
    if where == "back":
        inbox.give_back(document)
        again = only(inbox).document
        assert (again.id, again.name, again.question) == (document.id, document.name, "?")
        return
    place = inbox.finish(document, where, DocumentError("broken") if where == "failed" else None)  # type: ignore[arg-type]
    assert files(place) == sorted([name, name + ".txt"])
    assert files(tmp_path, "working") == files(tmp_path, "inbox") == []


def test_nothing_is_overwritten(inbox: Inbox, tmp_path: Path) -> None:
    for where in ("done", "done", "failed", "failed"):
        drop(tmp_path, "a.jpg", where)
        drop(tmp_path, "a.jpg.txt", "?")
        error = DocumentError("broken") if where == "failed" else None
        place = inbox.finish(only(inbox).document, where, error)  # type: ignore[arg-type]
        assert files(place) == ["a.jpg", "a.jpg.txt"]
    drop(tmp_path, "a.jpg", "new")
    drop(tmp_path, "a.jpg.txt", "?")
    assert inbox.retry() == [f"{BOX}/a", f"{BOX}/a (2)"]
    assert inbox.boxes.waiting([BOX]) == {BOX: 3}


# ---- settling
def test_a_picture_waits_for_its_question_and_a_question_for_its_picture(tmp_path: Path) -> None:
    ahead = 0.0
    inbox = Inbox(tmp_path, "r", 2.0, now=lambda: time.time() + ahead, asking=[BOX])
    inbox.make([BOX])
    drop(tmp_path, "a.jpg")
    drop(tmp_path, "b.jpg.txt", "?")
    drop(tmp_path, "c.txt", "?")
    drop(tmp_path, "d.jpg.txt", "?")
    drop(tmp_path, "d.jpg.part")
    ahead = 3.0
    assert [dropped.name for dropped in inbox.boxes.scan([BOX])] == ["c.txt"]
    assert inbox.boxes.settling == 3
    ahead = 2.0 * GRACE + 1
    assert sorted(dropped.name for dropped in inbox.boxes.scan([BOX])) == ["a.jpg", "b.jpg.txt", "c.txt"]
    drop(tmp_path, "a.jpg.txt", "?")  # just written: now both have to settle
    ahead = 1.0
    assert list(inbox.boxes.scan([BOX])) == []
    ahead = 3.0
    assert sorted(dropped.name for dropped in inbox.boxes.scan([BOX])) == ["a.jpg", "c.txt"]


def test_a_folder_that_is_being_copied_is_left_alone(tmp_path: Path) -> None:
    tick = 0.0
    inbox = Inbox(tmp_path, "r", 2.0, clock=lambda: tick, asking=[BOX])
    inbox.make([BOX])
    (tmp_path / "inbox" / BOX / "empty").mkdir()
    drop(tmp_path, "trip/question.txt", "?")
    assert list(inbox.boxes.scan([BOX])) == []
    tick = 1.9
    drop(tmp_path, "trip/1.jpg")
    assert list(inbox.boxes.scan([BOX])) == []
    tick = 3.0
    half = drop(tmp_path, "trip/2.jpg.part")
    tick = 100.0
    assert list(inbox.boxes.scan([BOX])) == []
    half.rename(half.with_suffix(""))
    assert list(inbox.boxes.scan([BOX])) == []
    tick = 102.1
    [dropped] = inbox.boxes.scan([BOX])
    assert dropped.name == "trip"
    drop(tmp_path, "trip/3.jpg")
    assert inbox.claim(dropped) is None


def test_two_machines_never_share_a_set(tmp_path: Path) -> None:
    first, second = (Inbox(tmp_path, run, 0.0, asking=[BOX]) for run in ("r1", "r2"))
    first.make([BOX])
    for number in range(20):
        drop(tmp_path, f"{number:02}.jpg", str(number))
        drop(tmp_path, f"{number:02}.jpg.txt", str(number))
    pairs = list(zip(first.boxes.scan([BOX]), second.boxes.scan([BOX]), strict=True))
    claims = [claim for mine, theirs in pairs for claim in (second.claim(theirs), first.claim(mine)) if claim]
    assert sorted(claim.document.name for claim in claims) == [f"{number:02}.jpg" for number in range(20)]
    assert all(len(claim.document.files) == 1 and claim.document.question for claim in claims)


# ---- kills
def killed_at(change: int, work: Callable[[], None]) -> bool:
    """Does the work in a process that is killed right before its change number `change` to a folder; whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests left threads; the child only moves files
        child = os.fork()
    if child == 0:
        left = [change]

        def counted(real: Callable[..., None]) -> Callable[..., None]:
            def change_or_die(*given: Any, **more: Any) -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                real(*given, **more)

            return change_or_die

        for name in ("rename", "replace", "link", "unlink", "mkdir", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


DROPS = {
    "pair": {"a.jpg": b"1", "a.jpg.txt": b"?"},
    "short name": {"a.jpg": b"1", "a.txt": b"?"},
    "folder": {"f/1.jpg": b"1", "f/2.jpg": b"2", "f/more/3.jpg": b"3", "f/question.txt": b"?"},
    "text": {"q.txt": b"?"},
}


@pytest.mark.parametrize("dropped", DROPS.values(), ids=DROPS)
@pytest.mark.parametrize("where", ["done", "failed", "duplicate", "back", "retry"])
def test_killed_at_every_change_a_set_stays_whole(tmp_path: Path, dropped: dict[str, bytes], where: str) -> None:
    id_ = None
    for change in range(1, 40):
        root = tmp_path / str(change)
        root.mkdir()

        def work(root: Path = root) -> None:
            inbox = Inbox(root, "r1", settle_s=0.0, asking=[BOX])
            document = only(inbox).document
            if where == "back":
                inbox.give_back(document)
            else:
                error = DocumentError("broken") if where in ("failed", "retry") else None
                inbox.finish(document, cast(Where, "failed" if error else where), error)
            if where == "retry":
                inbox.retry()
            inbox.close()

        Inbox(root, "r0", asking=[BOX]).make([BOX])
        for name, content in dropped.items():
            drop(root, name, content)
        was_killed = killed_at(change, work)
        inbox = Inbox(root, "r2", settle_s=0.0, asking=[BOX])
        for claim in inbox.recover(lambda run: False):
            assert claim.error is None
            inbox.give_back(claim.document)
        inbox.retry()
        inbox.close()
        assert files(root, "working") == []
        lying = [name for name in files(root) if not name.startswith(".tmp")]
        assert sorted((root / name).read_bytes() for name in lying) == sorted(dropped.values())
        if lying[0].startswith("inbox"):
            claim = only(inbox)
            id_ = id_ or claim.document.id
            assert (claim.error, claim.document.id, claim.document.question) == (None, id_, "?")
            assert files(root, "inbox") == []
        else:
            assert len({tuple(name.split("/")[: 4 if where == "done" else 3]) for name in lying}) == 1
        if not was_killed:
            assert change > 3
            return
    raise AssertionError("the work never came to its end")


# ---- a whole run
ASK = load_jobs(Path(__file__).parents[2] / "jobs", ["ask"])[0]


def read_settings(root: Path) -> Settings:
    (root / "inbox" / BOX).mkdir(parents=True)
    return load_settings(None, root=root, workers=1, settle_s=0)


def batch(settings: Settings, model: Engine, *jobs: Job) -> RunReport:
    return run_batch(settings, model, *(jobs or [ASK]))


def picture(root: Path, name: str, colour: int = 0) -> Path:
    path = drop(root, name)
    Image.new("RGB", (60, 40), (colour, 99, 7)).save(path)
    return path


def test_questions_are_answered_and_stand_in_record_and_table(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    picture(tmp_path, "dial.png")
    drop(tmp_path, "dial.png.txt", "What does it show?")
    drop(tmp_path, "frage.txt", "Was ist ein Manometer?")
    for number in (10, 9, 1):
        picture(tmp_path, f"trip/{number}.png", number)
    (tmp_path / "inbox" / BOX / "trip" / "2.jpg").write_bytes(b"\xff\xd8\xff broken")
    drop(tmp_path, "trip/question.txt", "Where was this?")
    drop(tmp_path, "trip/earlier.json", '[{"question": "Who?", "answer": "Two people."}]')
    picture(tmp_path, "lonely.png", 77)
    asked: list[Request] = []

    def script(request: Request) -> str:
        asked.append(request)
        return f"Answer to {request.document.question}"

    run_report = batch(settings, EchoEngine(script))
    assert run_report.faults() == []
    assert run_report.summary()["records"] == {"ok": 2, "review": 1, "failed": 1}
    table = pd.read_parquet(tmp_path / "results" / "ask").set_index("source")
    assert table["question"].dropna().to_dict() == {
        "dial.png": "What does it show?",
        "frage.txt": "Was ist ein Manometer?",
        "trip": "Where was this?",
    }
    assert table.loc["frage.txt", "answer"] == "Answer to Was ist ein Manometer?"
    assert list(table.loc["trip", "pages"]) == [1, 2, 3, 4]
    assert list(table.loc["frage.txt", "pages"]) == []
    trip = next(request for request in asked if request.document.name == "trip")
    assert trip.question.endswith("\n\nWhere was this?")
    assert trip.earlier == (("Who?", "Two people."),)
    colours = [None if page.image is None else int(page.image[9, 9, 0]) for page in trip.pages]
    assert colours == [1, None, 9, 10]
    record = json.loads(next((tmp_path / "records" / "ask").glob(f"{trip.document.id}.json")).read_text("utf-8"))
    assert record["document"]["question"] == "Where was this?"
    assert record["document"]["pictures"] == ["1.png", "2.jpg", "9.png", "10.png"]
    assert record["issues"][0]["code"] == "unreadable"
    assert record["issues"][0]["message"].startswith("page 2 could not be read: 2.jpg: ")
    note = json.loads((tmp_path / "failed" / BOX / "lonely.error.json").read_text("utf-8"))
    assert note["code"] == "no_question"
    assert "photo.jpg.txt" in note["what_to_do"]
    report = account_page(tmp_path)
    assert "Where was this?" in report
    assert "Answer to Where was this?" in report
    boxes = status(tmp_path, [ASK])["boxes"]
    assert [(box["inbox"], box["waiting"], box["done"], box["failed"]) for box in boxes] == [(BOX, 0, 3, 1)]


def account_page(root: Path) -> str:
    return next((root / "runs").glob("*.html")).read_text("utf-8")


def test_the_same_question_about_the_same_picture_is_a_duplicate_and_another_is_not(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    for number, question in enumerate(["What?", "What?", "Why?"]):
        picture(tmp_path, f"{number}.png")
        drop(tmp_path, f"{number}.png.txt", question)
    first = batch(settings, EchoEngine({"*": "So."})).summary()
    assert (first["done"], first["duplicate"]) == (2, 1)
    assert files(tmp_path, "duplicate") == [f"{BOX}/1/1.png", f"{BOX}/1/1.png.txt"]


def test_what_was_only_read_is_asked_again(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)

    class OnlyReads(EchoEngine):
        def answer(self, requests: Iterable[Request | None]) -> Iterator[Reply | Partial]:
            for reply in super().answer(requests):
                assert isinstance(reply, Reply)
                yield replace(reply, issues=(Issue("only_read", "answer", "only read"),))

    for model, done in (
        (OnlyReads({"*": "12 bar"}), 1),
        (EchoEngine({"*": "It shows 12 bar."}), 1),
        (EchoEngine({}), 0),
    ):
        picture(tmp_path, "a.png")
        drop(tmp_path, "a.png.txt", "What?")
        assert batch(settings, model).summary()["done"] == done
    table = pd.read_parquet(tmp_path / "results" / "ask")
    assert table[["status", "answer"]].to_numpy().tolist() == [["ok", "It shows 12 bar."]]


def test_killed_after_its_record_was_written_a_set_is_finished_and_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings(tmp_path)
    picture(tmp_path, "a.png")
    drop(tmp_path, "a.png.txt", "What?")

    def killed(*given: object) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Inbox, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            batch(settings, EchoEngine({"*": "So."}))
    assert [name.split("/", 1)[1] for name in files(tmp_path, "working")] == [
        "ask.sets/a/a.png",
        "ask.sets/a/a.png.txt",
    ]
    assert batch(settings, EchoEngine({"*": "never asked"})).summary()["taken"] == 0
    assert [name.split("/", 2)[2] for name in files(tmp_path, "done")] == ["a/a.png", "a/a.png.txt"]
    table = pd.read_parquet(tmp_path / "results" / "ask")
    assert table[["source", "answer"]].to_numpy().tolist() == [["a.png", "So."]]


def test_every_picture_broken_fails_with_its_name(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    for name in ("1.jpg", "2.jpg"):
        drop(tmp_path, f"f/{name}", b"\xff\xd8\xff broken")
    drop(tmp_path, "f/q.txt", "?")
    batch(settings, EchoEngine({}))
    note = json.loads((tmp_path / "failed" / BOX / "f.error.json").read_text("utf-8"))
    assert note["code"] == "broken"
    assert note["detail"].startswith("1.jpg: ")


def test_a_picture_that_ends_its_process_costs_itself_and_is_named(tmp_path: Path) -> None:
    settings = read_settings(tmp_path).model_copy(update={"limits": Limits(memory_mib=256)})
    picture(tmp_path, "trip/1.png", 11)
    picture(tmp_path, "trip/3.png", 33)
    drop(tmp_path, "trip/2.png")
    Image.new("L", (16_000, 16_000), 200).save(tmp_path / "inbox" / BOX / "trip" / "2.png", compress_level=1)
    drop(tmp_path, "trip/question.txt", "Where was this?")
    seen: list[Request] = []

    def script(request: Request) -> str:
        seen.append(request)
        return "At sea."

    run_report = batch(settings, EchoEngine(script))
    assert run_report.summary()["records"] == {"ok": 0, "review": 1, "failed": 0}
    (request,) = seen
    colours = [None if page.image is None else int(page.image[9, 9, 0]) for page in request.pages]
    assert colours == [11, None, 33]
    (record,) = (tmp_path / "records" / "ask").glob("*.json")
    (issue,) = json.loads(record.read_text("utf-8"))["issues"]
    assert issue["code"] == "unreadable"
    assert issue["message"].startswith("page 2 could not be read: 2.png: ")


def test_limits_hold_for_the_sum(tmp_path: Path) -> None:
    settings = read_settings(tmp_path).model_copy(update={"limits": Limits(pages=3)})
    for number in range(4):
        picture(tmp_path, f"f/{number}.png")
    drop(tmp_path, "f/q.txt", "?")
    batch(settings, EchoEngine({}))
    note = json.loads((tmp_path / "failed" / BOX / "f.error.json").read_text("utf-8"))
    assert note["code"] == "too_many_pages"


def test_page_numbers_run_through_all_files_and_their_pages(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    pages = [Image.new("RGB", (60, 40), (number, 9, 9)) for number in (1, 2, 3)]
    drop(tmp_path, "f/b.tiff", b"")
    pages[0].save(tmp_path / "inbox/ask/f/b.tiff", save_all=True, append_images=pages[1:])
    picture(tmp_path, "f/a.png", 50)
    picture(tmp_path, "f/c.png", 60)
    drop(tmp_path, "f/q.txt", "?")
    seen: list[tuple[int, int]] = []

    def script(request: Request) -> str:
        seen.extend((page.number, int(page.image[9, 9, 0])) for page in request.pages if page.image is not None)
        return "So."

    small = ASK.model_copy(update={"window": 2})
    batch(settings, EchoEngine(script), small)
    assert sorted(seen) == [(1, 50), (2, 1), (3, 2), (4, 3), (5, 60)]


def test_jobs_of_one_inbox_agree_on_questions(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\ninbox: x\nquestions: true\nfields: {n: {type: text}}\n")
    (tmp_path / "b.yaml").write_text("name: b\ninbox: x\nfields: {n: {type: text}}\n")
    with pytest.raises(ConfigError) as caught:
        load_jobs(tmp_path)
    assert [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults] == [
        "b.yaml:1: questions: false, but a reads questions with their pictures from the same inbox/x; "
        "give one of them another inbox"
    ]
    with pytest.raises(ConfigError, match="per: document"):
        parse_job(b"name: a\nquestions: true\nper: page\nfields: {n: {type: text}}\n")
    with pytest.raises(ConfigError, match='column "question"'):
        parse_job(b"name: a\nquestions: true\nfields: {question: {type: text}}\n")


def test_the_cpu_engine_reads_what_it_cannot_answer(tmp_path: Path) -> None:
    from models.ocr.engine import OcrEngine

    settings = read_settings(tmp_path)
    page = Image.new("RGB", (700, 200), "white")
    ImageDraw.Draw(page).text((40, 60), "Pressure 1.2 MPa", fill="black", font=ImageFont.load_default(48))
    drop(tmp_path, "dial.png")
    page.save(tmp_path / "inbox/ask/dial.png")
    drop(tmp_path, "dial.png.txt", "Is that much?")
    picture(tmp_path, "blank.png")
    drop(tmp_path, "blank.png.txt", "What is here?")
    drop(tmp_path, "frage.txt", "Was ist ein Manometer?")
    model = OcrEngine(workers=1)
    try:
        assert model.unsupported_reason(ASK) is None
        batch(settings, model)
    finally:
        model.close()
    table = pd.read_parquet(tmp_path / "results" / "ask").set_index("source")
    assert table["status"].to_dict() == {"dial.png": "review", "blank.png": "review", "frage.txt": "failed"}
    assert "1.2 MPa" in table.loc["dial.png", "answer"]
    assert [issue["code"] for issue in table.loc["dial.png", "issues"]] == ["only_read"]
    assert table.loc["dial.png", "confidence"] is None
    assert table.loc["dial.png", "evidence"]["answer"]["page"] == 1
    assert pd.isna(table.loc["blank.png", "answer"])
    said = {name: table.loc[name, "issues"][0]["message"].partition("; ")[2] for name in ("dial.png", "blank.png")}
    assert said == {"dial.png": "this is the text that it read", "blank.png": "it read no text"}
    assert table.loc["frage.txt", "error"]["code"] == "only_reads"
    assert Inbox(tmp_path, "retry").retry() == [f"{BOX}/frage"]


def test_a_folder_that_came_with_one_rename_is_taken_at_once(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, "run-1", settle_s=1000.0, asking=[BOX])
    inbox.make([BOX])
    drop(tmp_path, "slow/question.txt", "what?")
    drop(tmp_path, "quick/question.txt", "what?")
    drop(tmp_path, "quick/.complete", "")
    (claim,) = inbox.claims([BOX])
    assert (claim.document.name, claim.document.question, claim.document.parts) == ("quick", "what?", ())
