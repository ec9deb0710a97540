"""The scripted engine says what it was told to say."""

import json
from pathlib import Path

import pytest

from models.scripted import echo as engine
from models.scripted.echo import EchoEngine
from pipeline.core.errors import ModelError
from pipeline.engine import Partial, Reply, Request
from pipeline.extraction import prompt
from pipeline.schema.job import parse_job
from tests.support.builders import document, page

NOTE = parse_job(b"name: note\nfields: {number: {type: text}}\n")


def request(name: str) -> Request:
    return prompt.ask(NOTE, document(name), [page()])


def reply(echo: EchoEngine, name: str) -> Reply:
    (given,) = echo.answer([request(name)])
    assert isinstance(given, Reply)
    return given


def test_it_answers_by_name_then_by_id_then_for_all() -> None:
    echo = EchoEngine({"a.png": "by name", document("b.png").id: "by id", "*": "for all"})
    assert [reply(echo, name).text for name in ("a.png", "b.png", "c.png")] == ["by name", "by id", "for all"]
    assert reply(EchoEngine({}), "a.png").text == "{}"


def test_it_answers_by_a_function_of_the_request() -> None:
    assert reply(EchoEngine(lambda asked: asked.document.name.upper()), "a.png").text == "A.PNG"


@pytest.mark.parametrize(
    ("said", "text", "finish", "error"),
    [
        ("whole", "whole", "stop", None),
        ("<length>{half", "{half", "length", None),
        ("<error>out of paper", "out of paper", "error", "out of paper"),
    ],
)
def test_it_can_be_cut_off_and_can_fail(said: str, text: str, finish: str, error: str | None) -> None:
    given = reply(EchoEngine({"*": said}), "a.png")
    assert (given.text, given.finish, given.error) == (text, finish, error)


def test_nothing_ready_is_passed_over_and_order_is_kept() -> None:
    asked = [request("a"), None, request("b"), None]
    given = list(EchoEngine({}).answer(asked))
    assert [each.request for each in given] == [asked[0], asked[2]]


def test_a_file_of_replies_is_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "replies.json"
    path.write_text(json.dumps({"*": '{"number": "4711"}'}))
    assert "4711" in reply(EchoEngine.from_file(path), "a.png").text
    for content in ("not json", "[]", '{"*": 3}'):
        path.write_text(content)
        with pytest.raises(ModelError, match=r"replies\.json"):
            EchoEngine.from_file(path)


def test_pages_cost_what_they_cost_the_gpu_engine() -> None:
    wide, high = EchoEngine({}).page_spec.fit(1654, 2339)
    assert wide % 28 == high % 28 == 0
    assert wide * high <= 1_003_520


def test_slowly_it_tells_how_far_it_is_where_a_question_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PAUSE_S", 0.0)
    ask = parse_job(b"name: ask\nquestions: true\nfields: {answer: {type: prose}}\n")
    asked = document("a", "ask", question="What is it?")
    *partials, last = EchoEngine({"*": "<slowly>one two three four"}).answer([prompt.ask(ask, asked, [])])
    assert isinstance(last, Reply)
    assert last.text == "one two three four"
    texts = [each.text for each in partials if isinstance(each, Partial)]
    assert len(texts) == len(partials) == engine.PIECES - 1
    assert all(last.text.startswith(text) for text in texts)
    assert texts == sorted(set(texts), key=len)
    (typed,) = EchoEngine({"*": "<slowly>{}"}).answer([request("a.png")])
    assert isinstance(typed, Reply)
