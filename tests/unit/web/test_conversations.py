"""Conversations are kept, found, seen by their owner only, and deleted for good."""

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web.data.conversations import ConversationStore, StoredImage

CAT = StoredImage("1.jpg", "cat_100%.jpg", "JPEG", 640, 480, 1234, b"\xff\xd8thumb")


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path)


def talk(store: ConversationStore, owner: str, question: str, answer: str, picture: StoredImage | None = CAT) -> str:
    name = store.begin(owner, question)
    if picture:
        (store.folder(name) / picture.file).write_bytes(b"the picture of " + question.encode())
        store.add_image(name, picture)
    turn = store.ask(name, question, f"{abs(hash(question)):064x}"[:64], False)
    store.set_answer(turn, answer, "echo")
    return name


def test_a_conversation_comes_back_as_it_was_held(store: ConversationStore, tmp_path: Path) -> None:
    name = talk(store, "ann", "What is\n  on the picture?", "A cat.")
    second = store.ask(name, "What colour?", "b" * 64, True)
    again = ConversationStore(tmp_path)
    first, open_turn = again.turns(name)
    assert (first.question, first.answer, first.engine, first.pending) == (
        "What is\n  on the picture?",
        "A cat.",
        "echo",
        False,
    )
    assert open_turn.pending
    assert open_turn.low_resolution
    assert again.images(name) == [CAT]
    store.set_answer(second, None, "echo", "The engine gave up.")
    store.set_answer(second, "too late", "echo")
    assert again.turns(name)[1].error == "The engine gave up."
    assert again.turns(name)[1].answer is None
    (told,) = again.conversations("ann")
    assert told.title == "What is on the picture?"


def test_nobody_sees_or_deletes_the_conversations_of_others(store: ConversationStore) -> None:
    name = talk(store, "ann", "secret", "yes")
    assert store.conversations("ben") == []
    assert store.find("ben", name) is None
    assert store.delete("ben", name) == ()
    assert store.find("ann", name)


@pytest.mark.parametrize(
    ("search", "found"), [("cat", 2), ("CAT_100%", 2), ("dog", 1), ("100%x", 0), ("_at", 0), ("喵", 1)]
)
def test_search_looks_into_questions_answers_and_names(store: ConversationStore, search: str, found: int) -> None:
    talk(store, "ann", "what", "a dog")
    talk(store, "ann", "这是什么", "喵", None)
    talk(store, "ann", "a hat?", "yes", CAT)
    assert len(store.conversations("ann", search)) == found


def test_deleting_leaves_nothing_behind(store: ConversationStore, tmp_path: Path) -> None:
    kept = talk(store, "ann", "keep me", "kept answer")
    name = talk(store, "ann", "wipe me", "unspeakable answer")
    asked = [turn.document_id for turn in store.turns(name)]
    assert store.delete("ann", name) == asked
    assert [each.id for each in store.conversations("ann")] == [kept]
    left = b"".join(path.read_bytes() for path in (tmp_path / "asks").rglob("*") if path.is_file())
    assert b"unspeakable" not in left
    assert b"the picture of wipe me" not in left
    assert b"kept answer" in left


def test_a_document_that_another_conversation_asks_about_stays(store: ConversationStore) -> None:
    first, second = talk(store, "ann", "same", "one"), talk(store, "ben", "same", "one")
    assert store.delete("ann", first) == []
    assert len(store.delete("ben", second)) == 1


def test_what_was_deleted_stays_noted_until_it_is_seen_off(store: ConversationStore) -> None:
    name = talk(store, "ann", "gone", "answer")
    (document,) = store.delete("ann", name)
    assert store.pending_deletions() == [(document, name)]
    again = talk(store, "ben", "gone", "answer")  # the very same question
    assert store.pending_deletions() == []
    store.delete("ben", again)
    assert store.pending_deletions() == [(document, again)]
    store.deletion_done(document)
    assert store.pending_deletions() == []


def test_many_threads_write_at_once(store: ConversationStore) -> None:
    threads = [threading.Thread(target=talk, args=(store, "ann", f"question {n}", "answer")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.conversations("ann")) == 12


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(st.characters(codec="utf-8"), min_size=1), search=st.text(max_size=8))
def test_whatever_is_typed_is_only_text(store: ConversationStore, question: str, search: str) -> None:
    owner = question + "'; DROP TABLE turn; --"
    talk(store, owner, question, question)
    assert store.turns(store.conversations(owner)[0].id)[0].question == question
    store.conversations(owner, search)
