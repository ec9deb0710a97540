"""Asking without a browser: what an answer is made of, what is deleted, and how a question finds whoever answers."""

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

from pipeline.errors import DocumentError
from pipeline.forget import discard, forget
from pipeline.job import load_jobs
from pipeline.types import Box, Record
from web.asking import Desk, said
from web.replies import Mark, marks, parts

PROJECT = Path(__file__).parents[1]

# ---- answers


def test_an_answer_is_taken_apart_at_its_fences() -> None:
    answer = "First.\n\n```json\n[1]\n```\nThen\n\n~~~html\n<b>```</b>\n~~~\n```\nopen"
    assert [(part.language, part.text) for part in parts(answer)] == [
        (None, "First."), ("json", "[1]"), (None, "Then"), ("html", "<b>```</b>"), ("", "open"),
    ]  # fmt: skip


@given(st.lists(st.sampled_from(["```", "~~~", "````", "a", "  b", "{[", ""])))
def test_no_word_of_an_answer_is_lost(lines: list[str]) -> None:
    told = "\n".join(part.text for part in parts("\n".join(lines)))
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
    assert marks(answer, 200, 400) == [Mark("stamp", Box(0.25, 0.1, 0.5, 0.1))]


@given(st.text(), st.integers(-5, 9999), st.integers(-5, 9999))
def test_any_answer_has_only_boxes_inside_the_picture(answer: str, width: int, height: int) -> None:
    for text in (answer, f'[{{"bbox_2d": [{width}, -3, {height}, 1e5]}}, {answer}'):
        for mark in marks(text, width, height):
            assert mark.box.x >= 0
            assert mark.box.y >= 0
            assert mark.box.right <= 1 + 1e-9
            assert mark.box.bottom <= 1 + 1e-9


# ---- the way into the pipeline and back


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    root, jobs = tmp_path / "root", tmp_path / "jobs"
    root.mkdir()
    jobs.mkdir()
    (jobs / "ask.yaml").write_text("questions: true\npreprocess: []\nfields: {answer: {type: prose, required: true}}\n")
    (tmp_path / "replies.json").write_text(json.dumps({"*": "A white square.", "silent": "", "broken": "<error>no"}))
    config = {"engine": "echo", "weights": str(tmp_path / "replies.json"), "settle_s": 30, "workers": 1}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    places = ["--root", str(root), "--jobs", str(jobs), "--config", str(tmp_path / "config.yaml")]
    return Desk(root, lambda: {job.name: job for job in load_jobs(jobs)}, places)


@pytest.fixture
def square(tmp_path: Path) -> Path:
    Image.new("RGB", (300, 200), "white").save(place := tmp_path / "1.png")
    return place


def wait(desk: Desk, document: str, since: datetime) -> Record:
    end = time.monotonic() + 60
    while (record := desk.answer(document, since)) is None:
        assert time.monotonic() < end, desk.see_to_it()
        time.sleep(0.05)
    return record


def test_a_question_is_answered_by_a_watch_that_the_page_starts(desk: Desk, square: Path) -> None:
    since = datetime.now().astimezone()
    assert desk.owner() is None
    document = desk.drop("talk-001", [square], "What is it?", [("Hello?", "Hello.")])
    assert desk.see_to_it() is None
    try:
        record = wait(desk, document, since)
        owner = desk.owner()
        assert owner is not None
        assert (owner.mine, owner.engine) == (True, "echo")
        assert said(record, desk.job) == ("A white square.", None)
        assert record.document.question == "What is it?"
        assert record.document.earlier == (("Hello?", "Hello."),)
        assert record.provenance["seen_px"] == [[308, 196]]
        # the same again is known, another one is answered by the same watch, without waiting for files to settle
        assert desk.drop("talk-002", [square], "What is it?", [("Hello?", "Hello.")]) == document
        assert said(wait(desk, desk.drop("silent", [square], "And now?", []), since), desk.job)[0] is None
    finally:
        desk.close()
    assert desk.owner() is None


def test_a_failure_is_told_and_asked_anew_later(desk: Desk) -> None:
    since = datetime.now().astimezone()
    document = desk.drop("broken", [], "Why?", [])
    run = [sys.executable, str(PROJECT / "run_batch.py"), "run", *desk._arguments]
    subprocess.run(run, stderr=subprocess.DEVNULL, timeout=60, check=False)
    answer, why = said(wait(desk, document, since), desk.job)
    assert answer is None
    assert why is not None
    assert "no" in why
    assert desk.answer(document, datetime.now().astimezone()) is None


def test_what_cannot_be_asked_leaves_nothing(desk: Desk, square: Path) -> None:
    with pytest.raises(DocumentError) as error:
        desk.drop("talk-001", [square], "  ", [])
    assert error.value.code == "no_question"
    assert list((desk.root / "inbox" / "ask").iterdir()) == []


def test_an_engine_that_cannot_start_says_so(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "replies.json").write_text("no JSON")
    assert desk.see_to_it() is None
    end = time.monotonic() + 30
    while not (words := desk.see_to_it()):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "replies.json" in words


def test_what_is_forgotten_is_gone_from_record_table_and_folders(desk: Desk, square: Path) -> None:
    import pandas as pd

    gone, kept = (desk.drop(f"talk{n}-001", [square], f"Question {n}?", []) for n in (1, 2))
    run = [sys.executable, str(PROJECT / "run_batch.py"), "run", *desk._arguments]
    subprocess.run(run, stderr=subprocess.DEVNULL, timeout=60, check=True)
    forget(desk.root, desk.job, gone)
    assert discard(desk.root, "ask", "talk1-") == 1
    assert list(pd.read_parquet(desk.root / "results" / "ask")["document_id"]) == [kept]
    assert [path.name for path in (desk.root / "records" / "ask").iterdir()] == [f"{kept}.json"]
    told = "".join(path.read_text("utf-8") for path in (desk.root / "runs").iterdir())
    assert "Question 1?" not in told
    assert "white square" not in told
    lying = [path.name for path in (desk.root / "done").rglob("talk*")]
    assert lying == ["talk2-001"]
    forget(desk.root, desk.job, gone)  # what is not there is gone already


def test_an_empty_name_discards_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the beginning"):
        discard(tmp_path, "ask", "")
