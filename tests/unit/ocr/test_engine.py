"""The CPU engine through its protocol: real processes, real models, pages made here."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from models.ocr.engine import OcrEngine
from pipeline.core.errors import ModelError
from pipeline.core.geometry import Affine, Box
from pipeline.core.types import Page, Word
from pipeline.engine import Engine, Request
from pipeline.extraction import prompt
from pipeline.extraction.extract import extract
from pipeline.plugins import engines
from pipeline.schema.job import Job, parse_job
from pipeline.schema.settings import load_settings
from tests.support.builders import document
from tests.support.waiting import cpu_ticks, wait_until

RECEIPT = parse_job(b"name: receipt\nfields: {total: {type: money}, date: {type: date}}\n")
NOTE = parse_job(b"name: note\nfields: {number: {type: text, kind: id, labels: [Invoice No]}}\n")


@pytest.fixture(scope="module")
def engine() -> Iterator[OcrEngine]:
    engine = OcrEngine(2, seconds=60)
    yield engine
    engine.close()


def picture(*lines: str) -> np.ndarray:
    image = Image.new("RGB", (700, 60 + 70 * len(lines)), "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((30, 30 + 70 * number), line, "black", ImageFont.load_default(34))
    return np.asarray(image)


def page(image: np.ndarray | None, number: int = 1, words: tuple[Word, ...] = ()) -> Page:
    height, width = (800, 600) if image is None else image.shape[:2]
    fault = None if image is not None or words else "broken"
    return Page(number, width, height, Affine(), image, words, fault)


def request(job: Job, name: str, *pages: Page) -> Request:
    return prompt.ask(job, document(name), pages)


def test_a_page_is_answered_with_values_places_and_confidence(engine: Engine) -> None:
    asked = request(RECEIPT, "a", page(picture("Date 17/01/2026", "Total 12.50")))
    (reply,) = engine.answer([asked])
    assert reply.request is asked
    assert reply.finish == "stop"
    assert RECEIPT.fields["total"].coerce(__import__("json").loads(reply.text)["total"]).value == 12.5
    assert reply.evidence["total"].page == 1
    assert reply.evidence["total"].box is not None
    assert 80 < reply.evidence["total"].box.y < 150
    assert 0 < reply.confidence["total"] <= 1
    assert reply.seconds > 0


def test_two_jobs_about_the_same_pages_read_them_once(engine: OcrEngine) -> None:
    pages = (page(picture("Invoice No 4711", "Total 12.50")),)
    asked = [request(RECEIPT, "a", *pages), request(NOTE, "a", *pages)]
    replies = list(engine.answer(asked))
    assert [reply.request for reply in replies] == asked
    assert "4711" in replies[1].text
    assert replies[0].seconds == replies[1].seconds, "one task, so one time for both"


def test_pages_of_one_window_are_read_side_by_side_and_answered_together(engine: OcrEngine) -> None:
    pages = [page(picture("Invoice No 4711"), 1), page(None, 2), page(picture("Total 99.00"), 3)]
    (reply,) = engine.answer([request(RECEIPT, "a", *pages)])
    assert "99.00" in reply.text
    assert reply.evidence["total"].page == 3


def test_a_text_layer_needs_no_picture(engine: OcrEngine) -> None:
    words = (Word("Total", Box(50, 700, 60, 14)), Word("77.00", Box(120, 700, 50, 14)))
    (reply,) = engine.answer([request(RECEIPT, "a", page(None, words=words))])
    assert "77.00" in reply.text


@pytest.mark.parametrize(("most", "status", "rows"), [(3, "review", 3), (4, "ok", 4)])
def test_a_table_with_more_rows_than_the_list_allows_goes_to_review(
    engine: OcrEngine, most: int, status: str, rows: int
) -> None:
    job = parse_job(
        b"name: bill\nreview_below: 0\nfields:\n  lines:\n    type: list\n    max_items: %d\n"
        b"    fields: {description: {type: text}, quantity: {type: number}, amount: {type: money}}\n" % most
    )
    table = ("Description|Quantity|Amount", "Bolt|2|10.00", "Nut|3|20.00", "Washer|4|30.00", "Screw|5|40.00")
    words = tuple(
        Word(said, Box(60 + 250 * column, 100 + 30 * row, 9 * len(said), 14))
        for row, line in enumerate(table)
        for column, said in enumerate(line.split("|"))
    )
    asked = request(job, "a", page(None, words=words))
    (reply,) = engine.answer([asked])
    record = extract(job, asked.document, None, [reply])
    assert (record.status, len(record.data["lines"])) == (status, rows), record.issues
    assert [issue.code for issue in record.issues] == ["truncated"] * (status == "review")


def test_a_blank_page_gives_an_answer_without_values(engine: OcrEngine) -> None:
    (reply,) = engine.answer([request(RECEIPT, "a", page(np.full((400, 300, 3), 255, np.uint8)))])
    assert (reply.finish, reply.evidence) == ("stop", {})


def test_nothing_ready_lets_it_go_on_and_replies_leave_before_the_end(engine: OcrEngine) -> None:
    first = request(NOTE, "first", page(picture("Invoice No 1001")))
    last = request(NOTE, "last", page(picture("Invoice No 1002")))
    seen: list[str] = []

    def source() -> Iterator[Request | None]:
        yield first
        while not seen:  # only a reply to the first ends this
            yield None
        yield last

    for reply in engine.answer(source()):
        seen.append(reply.request.document.name)
    assert seen == ["first", "last"]


def test_no_more_than_two_documents_a_process_are_pulled_ahead(engine: OcrEngine) -> None:
    pulled = 0

    def source() -> Iterator[Request]:
        nonlocal pulled
        for number in range(12):
            pulled += 1
            yield request(NOTE, str(number), page(picture(f"Invoice No 10{number:02}")))

    replies = engine.answer(source())
    next(replies)
    assert (
        pulled <= 2 * 2 + 2
    )  # those in flight, the one held back to see whether the next shares its pages, and a reply
    assert len(list(replies)) == 11


def test_a_process_that_dies_costs_one_document(engine: OcrEngine) -> None:
    warm = [request(NOTE, f"warm {number}", page(picture(f"Invoice No {number}"))) for number in range(4)]
    list(engine.answer(warm))  # both processes have started

    def source() -> Iterator[Request | None]:
        before = {pid: cpu_ticks(pid) for pid in engine.pids}
        yield request(NOTE, "bad", page(picture(*["Invoice No 1"] * 40)))
        yield None  # nothing more now, so it is given to a process
        busy: list[int] = []
        wait_until(lambda: busy.extend(pid for pid in before if cpu_ticks(pid) > before[pid]) or busy, every_s=0.001)
        os.kill(busy[0], signal.SIGSTOP)  # so that it does not finish before it is killed
        yield request(NOTE, "good", page(picture("Invoice No 4242")))
        yield None
        os.kill(busy[0], signal.SIGKILL)
        yield request(NOTE, "after", page(picture("Invoice No 4343")))

    replies = {reply.request.document.name: reply for reply in engine.answer(source())}
    assert replies["bad"].finish == "error"
    assert "SIGKILL" in str(replies["bad"].error)
    assert replies["good"].finish == replies["after"].finish == "stop"


def test_once_closed_it_holds_no_process_and_the_next_question_starts_new_ones() -> None:
    engine = OcrEngine(1, seconds=60)
    asked = [request(NOTE, "a", page(picture("Invoice No 4711")))]
    try:
        engine.close()
        assert engine.pids == ()
        assert "4711" in next(iter(engine.answer(asked))).text
    finally:
        engine.close()


def test_a_process_that_was_stopped_costs_one_document_and_the_next_is_read() -> None:
    engine = OcrEngine(1, seconds=3)
    try:
        list(engine.answer([request(NOTE, "warm", page(picture("Invoice No 1")))]))

        def source() -> Iterator[Request | None]:
            os.kill(engine.pids[0], signal.SIGSTOP)
            yield request(NOTE, "bad", page(picture("Invoice No 1")))
            yield None
            yield request(NOTE, "good", page(picture("Invoice No 4242")))

        replies = {reply.request.document.name: reply for reply in engine.answer(source())}
        assert "took longer" in str(replies["bad"].error)
        assert "4242" in replies["good"].text
    finally:
        engine.close()


def test_a_page_that_takes_too_long_is_an_error_of_its_own() -> None:
    engine = OcrEngine(1, seconds=0.01)
    try:
        (reply,) = engine.answer([request(NOTE, "a", page(picture(*["Invoice No 4711"] * 20)))])
        assert reply.finish == "error"
        assert "took longer" in str(reply.error)
    finally:
        engine.close()


def test_what_only_a_looking_model_can_tell_is_refused_in_a_sentence(
    engine: OcrEngine,
) -> None:
    assert engine.unsupported_reason(RECEIPT) is None
    marks = parse_job(b"name: marks\nfields: {stamps: {type: list, fields: {where: {type: box}}}}")
    assert "GPU engine" in str(engine.unsupported_reason(marks))


def test_its_provenance_names_the_models_by_their_digest(engine: OcrEngine) -> None:
    told = engine.provenance()
    assert told["engine"] == "ocr"
    assert told["rapidocr"].startswith("3.")
    assert all(len(told[f"{part}_sha256"]) == 16 for part in ("detector", "recogniser"))


def test_load_picks_the_cpu_engine_where_there_are_no_weights_and_says_why(tmp_path: Path) -> None:
    model, why = engines.load(load_settings(None, weights=tmp_path / "none", workers=1))
    model.close()
    assert model.name == "ocr"
    assert why == f"The CPU engine reads, in 1 process, because there are no weights at {tmp_path / 'none'}."


def test_load_takes_the_scripted_engine_with_its_replies(tmp_path: Path) -> None:
    replies = tmp_path / "replies.json"
    replies.write_text('{"*": "{}"}')
    model, why = engines.load(load_settings(None, engine="echo", weights=replies))
    assert model.name == "echo"
    assert str(replies) in why
    replies.write_text("[]")
    with pytest.raises(ModelError, match=r"replies\.json"):
        engines.load(load_settings(None, engine="echo", weights=replies))


def test_loading_the_cpu_engine_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pipeline.plugins import engines\nfrom pipeline.schema.settings import load_settings\n"
        "m, _ = engines.load(load_settings(None, engine='auto', workers=1))\nm.close()\n"
        "heavy = {'torch', 'cv2', 'onnxruntime', 'rapidocr', 'pandas', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
