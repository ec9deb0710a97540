"""Conversations are kept, found, seen by their owner only, and deleted for good."""

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web.data.conversations import History, StoredImage

CAT = StoredImage("1.jpg", "cat_100%.jpg", "JPEG", 640, 480, 1234, b"\xff\xd8thumb")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def talk(history: History, owner: str, question: str, answer: str, picture: StoredImage | None = CAT) -> str:
    name = history.begin(owner, question)
    if picture:
        (history.folder(name) / picture.file).write_bytes(b"the picture of " + question.encode())
        history.add_picture(name, picture)
    turn = history.ask(name, question, f"{abs(hash(question)):064x}"[:64], False)
    history.answered(turn, answer, "echo")
    return name


def test_a_conversation_comes_back_as_it_was_held(history: History, tmp_path: Path) -> None:
    name = talk(history, "ann", "What is\n  on the picture?", "A cat.")
    second = history.ask(name, "What colour?", "b" * 64, True)
    again = History(tmp_path)
    first, open_turn = again.turns(name)
    assert (first.question, first.answer, first.engine, first.open) == (
        "What is\n  on the picture?",
        "A cat.",
        "echo",
        False,
    )
    assert open_turn.open
    assert open_turn.low_resolution
    assert again.pictures(name) == [CAT]
    history.answered(second, None, "echo", "The engine gave up.")
    history.answered(second, "too late", "echo")
    assert again.turns(name)[1].error == "The engine gave up."
    assert again.turns(name)[1].answer is None
    (told,) = again.conversations("ann")
    assert told.title == "What is on the picture?"


def test_nobody_sees_or_deletes_the_conversations_of_others(history: History) -> None:
    name = talk(history, "ann", "secret", "yes")
    assert history.conversations("ben") == []
    assert history.mine("ben", name) is None
    assert history.delete("ben", name) == ()
    assert history.mine("ann", name)


@pytest.mark.parametrize(
    ("search", "found"), [("cat", 2), ("CAT_100%", 2), ("dog", 1), ("100%x", 0), ("_at", 0), ("喵", 1)]
)
def test_search_looks_into_questions_answers_and_names(history: History, search: str, found: int) -> None:
    talk(history, "ann", "what", "a dog")
    talk(history, "ann", "这是什么", "喵", None)
    talk(history, "ann", "a hat?", "yes", CAT)
    assert len(history.conversations("ann", search)) == found


def test_deleting_leaves_nothing_behind(history: History, tmp_path: Path) -> None:
    kept = talk(history, "ann", "keep me", "kept answer")
    name = talk(history, "ann", "wipe me", "unspeakable answer")
    asked = [turn.document_id for turn in history.turns(name)]
    assert history.delete("ann", name) == asked
    assert [each.id for each in history.conversations("ann")] == [kept]
    left = b"".join(path.read_bytes() for path in (tmp_path / "asks").rglob("*") if path.is_file())
    assert b"unspeakable" not in left
    assert b"the picture of wipe me" not in left
    assert b"kept answer" in left


def test_a_document_that_another_conversation_asks_about_stays(history: History) -> None:
    first, second = talk(history, "ann", "same", "one"), talk(history, "ben", "same", "one")
    assert history.delete("ann", first) == []
    assert len(history.delete("ben", second)) == 1


def test_what_was_deleted_stays_noted_until_it_is_seen_off(history: History) -> None:
    name = talk(history, "ann", "gone", "answer")
    (document,) = history.delete("ann", name)
    assert history.leaving() == [(document, name)]
    again = talk(history, "ben", "gone", "answer")  # the very same question
    assert history.leaving() == []
    history.delete("ben", again)
    assert history.leaving() == [(document, again)]
    history.left(document)
    assert history.leaving() == []


def test_many_threads_write_at_once(history: History) -> None:
    threads = [threading.Thread(target=talk, args=(history, "ann", f"question {n}", "answer")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(history.conversations("ann")) == 12


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(st.characters(codec="utf-8"), min_size=1), search=st.text(max_size=8))
def test_whatever_is_typed_is_only_text(history: History, question: str, search: str) -> None:
    owner = question + "'; DROP TABLE turn; --"
    talk(history, owner, question, question)
    assert history.turns(history.conversations(owner)[0].id)[0].question == question
    history.conversations(owner, search)
