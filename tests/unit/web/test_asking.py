"""Asking without a browser: parsing answers, submitting questions, deleting conversations, uploads."""

import itertools
import json
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.core.errors import ConfigError, DocumentError, StorageError
from pipeline.core.geometry import Box
from pipeline.core.types import Document, Evidence, Record
from pipeline.reporting import live_status
from pipeline.reporting.live_status import LiveStatus
from pipeline.schema.job import load_jobs
from pipeline.schema.settings import Settings
from pipeline.storage.deletion import delete, discard
from pipeline.storage.record_store import RecordStore
from pipeline.system.locks import RootLock
from tests.support.handmade import Leaf, pdf
from tests.support.handmade import text as shown
from web.data.answer_markup import BoxMark, blocks, box_marks, escape_prices
from web.data.conversations import ConversationStore, StoredImage
from web.data.question_client import HISTORY_LENGTH, QuestionClient, answer_text, recent_turns

PROJECT = Path(__file__).parents[3]

# ---- answers


def test_an_answer_is_taken_apart_at_its_fences() -> None:
    answer = "First.\n\n```json\n[1]\n```\nThen\n\n~~~html\n<b>```</b>\n~~~\n```\nopen"
    assert [(block.language, block.text) for block in blocks(answer)] == [
        (None, "First."), ("json", "[1]"), (None, "Then"), ("html", "<b>```</b>"), ("", "open"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "language"),
    [('\n[{"a": 1}]\n', "json"), ("<!DOCTYPE html>\n<p>x</p>", "html"), ("[1] is a footnote", None), ("{", None)],
)
def test_json_and_html_without_a_fence_are_code(answer: str, language: str | None) -> None:
    assert [(block.language, block.text) for block in blocks(answer)] == [(language, answer.strip())]


@given(st.lists(st.sampled_from(["```", "~~~", "````", "a", "  b", "{[", ""])))
def test_no_word_of_an_answer_is_lost(lines: list[str]) -> None:
    told = "\n".join(block.text for block in blocks("\n".join(lines)))
    for sign in "ab{":
        assert told.count(sign) == sum(line.count(sign) for line in lines)


@pytest.mark.parametrize(
    "answer",
    [
        '```json\n[{"bbox_2d": [50, 40, 150, 80], "label": "stamp"}]\n```',
        'Here: {"bbox_2d": [50, 40, 150, 80], "label": "stamp"}.',
        '{"found": [{"bbox_2d": [50, 40, 150, 80], "label": "stamp"}, {"bbox_2d": [9, 9, 9, 9]}, {"bbox_2d": "x"}]}',
    ],
)
def test_boxes_in_words_become_fractions_of_the_picture(answer: str) -> None:
    assert box_marks(answer, 200, 400) == [BoxMark("stamp", Box(0.25, 0.1, 0.5, 0.1))]


@given(st.text(), st.integers(-5, 9999), st.integers(-5, 9999))
def test_any_answer_has_only_boxes_inside_the_picture(answer: str, width: int, height: int) -> None:
    for text in (answer, f'[{{"bbox_2d": [{width}, -3, {height}, 1e5]}}, {answer}'):
        for mark in box_marks(text, width, height):
            assert mark.box.x >= 0
            assert mark.box.y >= 0
            assert mark.box.right <= 1 + 1e-9
            assert mark.box.bottom <= 1 + 1e-9


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("$5 and $6.50", r"\$5 and \$6.50"),
        ("`echo $1`, ``a`$2``", "`echo $1`, ``a`$2``"),
        (r"\$7, $$8$$, $x$", r"\$7, $$8$$, $x$"),
    ],
)
def test_prices_are_no_formulas(said: str, shown: str) -> None:
    assert escape_prices(said) == shown


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=60))), st.integers(1, 100))
def test_the_newest_turns_that_fit_go_along(turns: list[tuple[str, str]], letters: int) -> None:
    kept = recent_turns(turns, letters)
    assert sum(len(question) + len(answer) for question, answer in kept) <= letters
    if turns:
        assert kept
        assert turns[-1][0].startswith(kept[-1][0])
        assert turns[-1][1].startswith(kept[-1][1])
        assert kept[:-1] == turns[len(turns) - len(kept) : -1]
    assert recent_turns(turns) == turns or sum(map(len, turns[-1])) > HISTORY_LENGTH


# ---- the way into the pipeline and back


@pytest.fixture
def client(tmp_path: Path) -> QuestionClient:
    root, jobs = tmp_path / "root", tmp_path / "jobs"
    root.mkdir()
    jobs.mkdir()
    (jobs / "ask.yaml").write_text("questions: true\npreprocess: []\nfields: {answer: {type: prose, required: true}}\n")
    (tmp_path / "replies.json").write_text(json.dumps({"*": "A white square.", "silent": "", "broken": "<error>no"}))
    config = {"engine": "echo", "weights": str(tmp_path / "replies.json"), "settle_s": 30, "workers": 1}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    return QuestionClient(root, lambda: {job.name: job for job in load_jobs(jobs)}, options(root))


def options(root: Path) -> list[str]:
    """What every command is given, for the root that `desk` made."""
    return ["--root", str(root), "--jobs", str(root.parent / "jobs"), "--config", str(root.parent / "config.yaml")]


@pytest.fixture
def square(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), "white").save(place := tmp_path / "1.png")
    return place


def wait(client: QuestionClient, document: str, since: datetime) -> Record:
    end = time.monotonic() + 60
    while (record := client.answer(document, since)) is None:
        assert time.monotonic() < end, client.ensure_running()
        time.sleep(0.05)
    return record


def test_a_question_is_answered_by_a_watch_that_the_page_starts(client: QuestionClient, square: Path) -> None:
    since = datetime.now().astimezone()
    assert client.active_run() is None
    document = client.submit("talk-001", [square], "What is it?", [("Hello?", "Hello.")])
    assert client.ensure_running() is None
    try:
        record = wait(client, document, since)
        run = client.active_run()
        assert run is not None
        assert (run.own, run.engine) == (True, "echo")
        assert answer_text(record, client.job) == ("A white square.", None)
        assert record.document.question == "What is it?"
        assert record.document.earlier == (("Hello?", "Hello."),)
        assert record.provenance["seen_px"] == [[308, 196]]
        # the same again is known, another one is answered by the same watch, without waiting for files to settle
        assert client.submit("talk-002", [square], "What is it?", [("Hello?", "Hello.")]) == document
        assert (
            answer_text(wait(client, client.submit("silent", [square], "And now?", []), since), client.job)[0] is None
        )
    finally:
        client.close()
    assert client.active_run() is None


def test_a_failure_is_told_and_asked_anew_later(client: QuestionClient) -> None:
    since = datetime.now().astimezone()
    document = client.submit("broken", [], "Why?", [])
    run = [sys.executable, str(PROJECT / "run_batch.py"), "run", *client.arguments]
    subprocess.run(run, stderr=subprocess.DEVNULL, timeout=60, check=False)
    answer, why = answer_text(wait(client, document, since), client.job)
    assert answer is None
    assert why is not None
    assert "no" in why
    assert client.answer(document, datetime.now().astimezone()) is None


def test_what_cannot_be_asked_leaves_nothing(client: QuestionClient, square: Path) -> None:
    with pytest.raises(DocumentError) as error:
        client.submit("talk-001", [square], "  ", [])
    assert error.value.code == "no_question"
    assert list((client.root / "inbox" / "ask").iterdir()) == []


def test_an_engine_that_cannot_start_says_so(client: QuestionClient, tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text("no JSON")
    (client.root / "inbox").mkdir()
    assert client.ensure_running() is None
    end = time.monotonic() + 30
    while not (words := client.ensure_running()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "replies.json" in words


def test_what_is_forgotten_is_gone_from_record_table_and_folders(client: QuestionClient, square: Path) -> None:
    import pandas as pd

    gone, kept = (client.submit(f"talk{n}-001", [square], f"Question {n}?", []) for n in (1, 2))
    run = [sys.executable, str(PROJECT / "run_batch.py"), "run", *client.arguments]
    subprocess.run(run, stderr=subprocess.DEVNULL, timeout=60, check=True)
    delete(client.root, client.job, gone)
    assert discard(client.root, "ask", "talk1-") == 1
    assert list(pd.read_parquet(client.root / "results" / "ask")["document_id"]) == [kept]
    assert [path.name for path in (client.root / "records" / "ask").iterdir()] == [f"{kept}.json"]
    told = "".join(path.read_text("utf-8") for path in (client.root / "runs").iterdir())
    assert "Question 1?" not in told
    assert "white square" not in told
    lying = [path.name for path in (client.root / "done").rglob("talk*")]
    assert lying == ["talk2-001"]
    delete(client.root, client.job, gone)  # what is not there is gone already


def test_an_empty_name_discards_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a name prefix"):
        discard(tmp_path, "ask", "")


def test_what_waits_is_known_and_a_lost_picture_is_named(client: QuestionClient, square: Path) -> None:
    for number in (1, 2):
        client.submit(f"talk-00{number}", [square], f"{number}?", [])
    assert client.queued("talk")
    assert not client.queued("t?lk")
    with pytest.raises(DocumentError) as error:
        client.submit("talk-003", [square.with_name("gone.png")], "And?", [])
    assert (error.value.code, error.value.detail) == ("vanished", "gone.png")
    assert len(list((client.root / "inbox" / "ask").iterdir())) == 2


def test_who_answers_and_who_does_not(client: QuestionClient) -> None:
    pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")
    from web.components.answer_progress import progress_text

    assert progress_text(None, "talk", client) == "starting the engine"
    with RootLock(client.root, "night"):
        assert progress_text(client.active_run(), "talk", client) == "starting the engine"  # it has said nothing yet
        told = LiveStatus(client.root, "night", "echo", ["invoice"])
        told.started(5)
        assert "until run night ends" in progress_text(client.active_run(), "talk", client)
        assert client.ensure_running() is None  # so the page starts none of its own
        assert not (client.root / "asks" / "watch.log").exists()
        told = LiveStatus(client.root, "night", "echo", ["ask", "invoice"], clock=itertools.count(0, 60).__next__)
        told.started(5)
        assert progress_text(client.active_run(), "talk", client) == "reading"
        client.submit("talk-001", [], "When?", [])
        assert progress_text(client.active_run(), "talk", client) == "waiting behind about 5 documents"
        told.answering("an id", "Soon")
        run = client.active_run()
        assert run is not None
        assert run.answering == {"an id": "Soon"}


def test_what_a_run_has_in_hand_is_forgotten_later(client: QuestionClient, square: Path) -> None:
    document = client.submit("talk-001", [square], "Question?", [])
    other = client.submit("stay-001", [square], "Stay?", [])
    (asked,) = (client.root / "inbox" / "ask").glob("talk-*")
    taken = client.root / "working" / "run" / "ask.sets" / asked.name
    taken.parent.mkdir(parents=True)
    asked.rename(taken)
    (client.root / ".live.json").write_text('{"answering": {"x": "the beginning of an answer"}}')
    assert not client.delete_question("talk", document)
    assert taken.exists()
    assert live_status.read(client.root) is None
    assert not (client.root / ".live.json").exists()  # of a killed run
    taken.rename(asked)  # it was given back
    assert client.delete_question("talk", document)
    assert not asked.exists()
    assert client.queued("stay")
    assert client.delete_question("stay", other)


def test_a_watch_that_steps_aside_is_no_trouble(client: QuestionClient) -> None:
    client.submit("talk-001", [], "Question?", [])
    assert client.ensure_running() is None
    time.sleep(0.2)
    client.close()
    assert client.ensure_running() is None  # it is only started again
    client.close()


def test_without_a_job_that_answers_it_is_said_what_to_do(client: QuestionClient, tmp_path: Path) -> None:
    (tmp_path / "jobs" / "ask.yaml").write_text("fields: {number: {type: text}}\n")
    with pytest.raises(ConfigError, match="no job answers questions"):
        client.submit("talk-001", [], "Question?", [])


def test_a_root_that_went_away_is_named_and_not_made_anew(tmp_path: Path) -> None:
    root = tmp_path / "share"
    root.mkdir()
    store = ConversationStore(root)
    name = store.begin("ann", "Hello?")
    root.rename(tmp_path / "away")
    for call in (
        lambda: store.turns(name),
        lambda: store.ask(name, "?", "0" * 64, False),
        lambda: ConversationStore(root),
    ):
        with pytest.raises(StorageError, match="share"):
            call()
    assert not root.exists()


def test_a_history_that_is_damaged_is_told_in_words(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    (tmp_path / "asks" / "history.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match=r"history\.sqlite"):
        store.turns("x")


def test_a_file_gets_a_number_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")
    from web.pages.uploads import Attachment, reserve_number

    (tmp_path / "1.jpg").touch()
    assert [reserve_number(tmp_path).name for _ in range(2)] == ["2.new", "3.new"]
    lost = Attachment(StoredImage("9.jpg", "cat.jpg", "JPEG", 1, 1, 1, b""), tmp_path / "9.jpg")
    for low in (True, False):
        with pytest.raises(DocumentError, match=r"cat\.jpg"):
            lost.question_file(low)


@pytest.mark.parametrize("low", [False, True])
def test_boxes_stand_on_the_page_that_they_are_of(
    client: QuestionClient, square: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, low: bool
) -> None:
    pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")
    from web.context import WebContext
    from web.pages import uploads

    place = WebContext(Settings(root=client.root, jobs=tmp_path / "jobs"))
    monkeypatch.setattr(uploads, "current_context", lambda: place)
    store = ConversationStore(client.root)
    name = store.begin("ann", "Where?")
    book = pdf(tmp_path / "book.pdf", [Leaf(shown("one"), 720, 720), Leaf(shown("two"), 720, 360)])
    for path in (book, square):
        uploads.attach(store, name, path.name, path.read_bytes())
    pictures = uploads.attachments(store, name)
    last = len(pictures) + (0 if low else 1)  # a small copy is of the first page only
    spots = {f"answer[{at}]": Evidence(page, Box(page, 2, 3, 4), "") for at, page in enumerate((1, last))}
    spots["answer"] = Evidence(1, Box(1, 1, 90, 90), "all of it, without a box of its own")
    asked = Document("a" * 64, name, Path(), "ask", datetime.now().astimezone(), 1)
    told = {"engine": "ocr", "run": "night", "job_digest": client.job.digest}
    data = {"answer": "There."}
    RecordStore(client.root).commit([Record(asked, "ask", None, (1, last), data, {}, spots, (), None, told)])
    store.set_answer(store.ask(name, "Where?", asked.id, low), "There.", "ocr")
    try:
        first, second = uploads.annotated_pages(store.turns(name)[0], pictures, client)
    finally:
        place.page_images.close()
    assert first.size == ((756, 756) if low else (2000, 2000))  # 720 points at 200 dots an inch
    assert second.size == (300, 200)
    assert [box["x"] for box in (*first.boxes, *second.boxes)] == [1, last]


def test_an_upload_is_named_by_its_content_and_only_pictures_are_taken(
    client: QuestionClient, square: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")
    from pipeline.inbox import grouping
    from pipeline.plugins.formats import FORMATS, picture_suffixes
    from web.context import WebContext
    from web.pages import uploads

    place = WebContext(Settings(root=client.root, jobs=tmp_path / "jobs"))
    monkeypatch.setattr(uploads, "current_context", lambda: place)
    store = ConversationStore(client.root)
    name = store.begin("ann", "Where?")
    try:
        uploads.attach(store, name, "says.pdf", square.read_bytes())
        kind = next(kind for kind in FORMATS.all().values() if square.suffix in kind.suffixes)
        (kept,) = store.images(name)
        assert (kept.file, kept.name, kept.format) == (f"1{kind.suffixes[0]}", "says.pdf", kind.title)
        monkeypatch.setattr(kind, "question_picture", False)
        with pytest.raises(DocumentError, match=f"says.pdf: a question cannot be about a {kind.title} file") as caught:
            uploads.attach(store, name, "says.pdf", square.read_bytes())
    finally:
        place.page_images.close()
    assert caught.value.code == "unsupported"
    assert len(list(store.folder(name).glob("*"))) == 1 + len(list(store.folder(name).glob("*.json")))
    assert square.suffix not in picture_suffixes()
    assert grouping.named_picture(f"{square.name}.txt") == ""
