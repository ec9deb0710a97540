"""The parts of the page that need no browser: pictures of pages, the flat list, values as people write them."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.core.errors import ConfigError, DocumentError
from pipeline.core.types import Document, Issue, Record
from pipeline.inbox import question_files
from pipeline.schema.job import Job
from pipeline.schema.settings import Limits, Settings
from pipeline.storage.corrections import open_draft, save
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_store import RecordStore
from tests.support import builders
from tests.support.browsing import PROJECT
from tests.support.handmade import Leaf, pdf, text

pytest.importorskip("streamlit", reason="needs the page's packages: pip install -e '.[web]'")

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from pipeline.inbox.originals import original, pictures
from web.auth.middleware import AccessRules, AuthMiddleware, user_of
from web.auth.password import hash_password, verify_password
from web.components.record_form import form
from web.context import WebContext
from web.data.export_files import csv, escape_formula
from web.data.page_images import PageImages
from web.data.record_list import Filter, filter_records, load_records
from web.data.run_history import daily_accuracy, total_accuracy
from web.image_route import page_of

JOB = Job.model_validate(
    {
        "name": "bill",
        "fields": {
            "number": {"type": "text"},
            "total": {"type": "money", "decimal": ","},
            "lines": {"type": "list", "fields": {"amount": {"type": "money"}}},
        },
    }
)


@pytest.fixture(scope="module")
def scans() -> Iterator[PageImages]:
    made = PageImages(Settings(limits=Limits(megapixels=4, seconds=20)))
    yield made
    made.close()


def test_a_page_comes_in_source_pixels_whatever_its_picture_is(scans: PageImages, tmp_path: Path) -> None:
    path = pdf(tmp_path / "two.pdf", [Leaf(text("one"), 300, 200), Leaf(text("two"), 200, 300)])
    page = scans.page(path, 2, side_px=200)
    assert (page.width, page.height, page.pages) == (round(200 / 72 * 200), round(300 / 72 * 200), 2)
    assert page.jpeg.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("content", "code"), [(b"%PDF-1.4\n", "broken"), (b"", "empty"), (b"PK\x03\x04zip", "unsupported")]
)
def test_what_cannot_be_shown_is_said_and_the_next_is_shown(
    scans: PageImages, tmp_path: Path, content: bytes, code: str
) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DocumentError) as told:
        scans.page(tmp_path / "bad")
    assert told.value.code == code
    Image.new("RGB", (30, 20)).save(tmp_path / "good.png")
    assert (scans.page(tmp_path / "good.png").width, scans.page(tmp_path / "good.png").height) == (30, 20)


def test_a_page_with_too_many_pixels_is_refused_before_it_is_decoded(scans: PageImages, tmp_path: Path) -> None:
    Image.new("1", (4000, 4000)).save(tmp_path / "huge.png")
    with pytest.raises(DocumentError, match="too_many_pixels"):
        scans.page(tmp_path / "huge.png")


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_it_is_told_how_a_page_lies_and_where_nobody_asks_nothing_is(
    scans: PageImages, tmp_path: Path, degrees: int
) -> None:
    with Image.open(PROJECT / "samples" / "invoices" / "phone_exif.jpg") as photo:
        upright = ImageOps.exif_transpose(photo)
    upright.thumbnail((1600, 1600))
    upright.rotate(-degrees, expand=True).save(path := tmp_path / "page.png")
    assert scans.page(path, orient=True).turned == degrees
    assert scans.page(path).turned == 0


def document(content: bytes, name: str) -> Document:
    return builders.document(name, "bills", id=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def test_an_original_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    day = tmp_path / "done" / "bills" / "2026-11-22" / "may"
    day.mkdir(parents=True)
    (day / "a.pdf").write_bytes(b"one")
    (day / "a (2).pdf").write_bytes(b"two")
    assert original(tmp_path, document(b"two", "may/a.pdf")) == day / "a (2).pdf"
    assert original(tmp_path, document(b"six", "may/a.pdf")) is None
    assert original(tmp_path, document(b"two", "../../a.pdf")) is None


def test_pages_of_a_set_that_was_asked_about_are_counted_through(tmp_path: Path) -> None:
    """The page of a record shows the pictures of a question that somebody dropped, and what was asked."""
    folder = tmp_path / "done" / "ask" / "2026-11-22" / "two (2)"
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text("Which is\nlarger?")
    book = pdf(folder / "2.pdf", [Leaf(text("one"), 300, 200), Leaf(text("two"), 200, 300)])
    Image.new("RGB", (30, 20)).save(folder / "10.png")
    asked = question_files.read(folder)
    assert asked is not None
    dropped = replace(document(b"", "two"), id=asked.id, inbox="ask", question=asked.question)
    assert pictures(tmp_path, dropped) == [book, folder / "10.png"]
    assert pictures(tmp_path, replace(dropped, id="0" * 64)) is None
    context = WebContext(Settings(root=tmp_path))
    try:
        sizes = [page_of(context, [book, folder / "10.png"], number, False) for number in (1, 2, 3)]
        with pytest.raises(DocumentError, match="no page"):
            page_of(context, [book, folder / "10.png"], 4, False)
    finally:
        context.page_images.close()
    assert [(page.width, page.height, total) for page, total in sizes] == [(833, 556, 3), (556, 833, 3), (30, 20, 3)]
    record = Record(dropped, "bill", None, (1, 2, 3), {"number": None, "lines": []}, {}, {}, (), None, {})
    store = RecordStore(tmp_path)
    store.commit([record])
    notes = form(open_draft(tmp_path, JOB, asked.id, None))["notes"]
    assert notes[0] == {"level": "info", "text": "Question: Which is larger?"}


def commit(root: Path, name: str, data: dict[str, Any], job: Job = JOB, **more: Any) -> None:
    known: dict[str, Any] = {"confidence": {}, "evidence": {}, "issues": (), "error": None} | more
    told = {"run": "night", "job_digest": job.digest}
    made = Record(document(name.encode(), name), "bill", None, (1,), data, provenance=told, **known)
    table = JobTable(root, job)
    table.add(RecordStore(root).commit([made]))
    table.flush()


def test_the_list_has_the_lowest_confidence_of_all_values_and_the_doubtful_first(tmp_path: Path) -> None:
    lines = [{"amount": Decimal(1)}, {"amount": Decimal(2)}]
    commit(tmp_path, "sure.pdf", {"number": "A", "lines": []}, confidence={"number": 0.9})
    commit(tmp_path, "none.pdf", {"number": None, "total": None, "lines": []})
    doubt = (Issue("doubtful", "lines[1].amount", "is sure to 0.20 only (review_below)"),)
    seen = {"number": 0.8, "lines[0].amount": 0.7, "lines[1].amount": 0.2}
    commit(tmp_path, "doubt.pdf", {"number": "B", "lines": lines}, confidence=seen, issues=doubt)
    commit(tmp_path, "torn.pdf", {}, error=("broken", "no pages"))
    rows = filter_records(load_records(tmp_path).table, Filter()).to_pylist()
    assert [row["source"] for row in rows] == ["torn.pdf", "doubt.pdf", "sure.pdf", "none.pdf"]
    assert [row["confidence"] for row in rows] == [None, 0.2, 0.9, None]
    assert rows[0]["issue"] == "The file is damaged: it cannot be decoded."
    assert rows[1]["issue"] == "lines[1].amount: is sure to 0.20 only"
    assert filter_records(load_records(tmp_path).table, Filter(text="DOUBT b")).num_rows == 1
    assert filter_records(load_records(tmp_path).table, Filter(status="failed")).num_rows == 1
    assert filter_records(load_records(tmp_path / "empty").table, Filter(text="x")).to_pylist() == []
    assert csv(tmp_path, filter_records(load_records(tmp_path).table, Filter())).startswith(b"\xef\xbb\xbf")


def test_how_right_it_was_is_counted_by_day_from_what_people_settled(tmp_path: Path) -> None:
    job = Job.model_validate(
        {"name": "bill", "fields": {"number": {"type": "text"}, "weight": {"type": "measure", "unit": "kg"}}}
    )
    ways: dict[str, dict[str, Any]] = {"a": {"approve": True}, "b": {"changes": {"weight": "2 t"}}, "untouched": {}}
    for name, way in ways.items():
        data = {"number": name, "weight": 1.5, "weight_printed": "1.5 kg"}
        commit(tmp_path, name, data, job=job)
        if way:
            draft = open_draft(tmp_path, job, document(name.encode(), name).id, None)
            save(tmp_path, draft, way.pop("changes", {}), **way)
    ((day, _),) = RecordStore(tmp_path).days(job)
    days = daily_accuracy(tmp_path, job)
    told = {"records checked": 2, "values": 4, "corrected": 1, "right": 0.75}  # a measure and its print are one value
    assert days == [{"job": "bill", "day": day.isoformat(), **told}]
    assert total_accuracy([*days, *days])["right"] == 0.75
    assert total_accuracy([*days, *days])["records checked"] == 4


def test_what_a_job_calls_its_keys_is_not_said_to_who_reviews(tmp_path: Path) -> None:
    long = Issue("not_allowed", "number", '"A (maximum" is longer than 5 characters (max_length)')
    rule = Issue("rule_failed", "total", "total > 0 does not hold: total is -1")
    commit(tmp_path, "odd.pdf", {"number": None, "lines": []}, issues=(long, rule))
    issues = form(open_draft(tmp_path, JOB, document(b"odd.pdf", "").id, None))["issues"]
    assert issues["number"]["messages"] == ['"A (maximum" is longer than 5 characters.']
    assert issues["total"]["messages"] == ["The rule total > 0 does not hold: total is -1."]
    assert (
        filter_records(load_records(tmp_path).table, Filter())
        .to_pylist()[0]["issue"]
        .endswith("longer than 5 characters")
    )


@pytest.mark.parametrize("given", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd"])
def test_no_text_of_a_document_becomes_a_formula(given: str) -> None:
    assert escape_formula(given) == f"'{given}"


def test_a_phone_and_a_negative_amount_stay_as_they_are() -> None:
    assert [escape_formula(each) for each in ("+49 (0)30 12-34", "-5.00", "a=b", 5)] == [
        "+49 (0)30 12-34",
        "-5.00",
        "a=b",
        5,
    ]


@given(st.decimals(-(10**9), 10**9, places=2), st.dates(date(1950, 1, 1), date(2049, 12, 31)), st.booleans())
def test_what_the_form_shows_is_read_back_as_the_same_value(total: Decimal, day: date, paid: bool) -> None:
    fields = Job.model_validate(
        {
            "name": "x",
            "fields": {
                "comma": {"type": "money", "decimal": ","},
                "point": {"type": "money"},
                "day": {"type": "date", "order": "DMY"},
                "paid": {"type": "yesno"},
                "kinds": {"type": "choice", "options": ["a", "b c"], "many": True},
            },
        }
    ).fields
    values = {"comma": total, "point": total, "day": day, "paid": paid, "kinds": ["a", "b c"]}
    for name, value in values.items():
        assert fields[name].coerce(fields[name].print_value(value)) == (value, ())


def test_names_and_values_of_documents_are_only_text_in_the_form(tmp_path: Path) -> None:
    commit(tmp_path, "a\u202efdp.exe", {"number": "<script>", "lines": []})
    shown = form(open_draft(tmp_path, JOB, document("a\u202efdp.exe".encode(), "").id, None))
    assert shown["name"] == "a⟨202E⟩fdp.exe"
    assert shown["fields"][0]["value"] == "<script>"  # review.js sets text, never HTML


def test_a_group_in_the_rows_of_a_list_is_columns_of_their_own(tmp_path: Path) -> None:
    part = {"type": "group", "fields": {"name": {"type": "text"}, "weight": {"type": "number"}}}
    fields = {"lines": {"type": "list", "fields": {"amount": {"type": "money"}, "part": part}}}
    job = Job.model_validate({"name": "bill", "fields": fields})
    row = {"amount": Decimal("2.50"), "part": {"name": "bolt", "weight": 1.5}}
    commit(tmp_path, "parts.pdf", {"lines": [row]}, job)
    draft = open_draft(tmp_path, job, document(b"parts.pdf", "").id, None)
    shown = form(draft)["fields"][0]
    assert [column["key"] for column in shown["columns"]] == ["amount", "part.name", "part.weight"]
    cells = [(leaf["path"], leaf["value"]) for leaf in shown["rows"][0]]
    assert cells == [("lines[0].amount", "2.50"), ("lines[0].part.name", "bolt"), ("lines[0].part.weight", "1.5")]
    changed = form(draft, {"lines[0].part.weight": "2"})
    assert not changed["issues"]


def test_a_password_is_kept_as_a_salted_hash() -> None:
    line = hash_password("correct horse")
    assert "correct" not in line
    assert line != hash_password("correct horse")
    assert verify_password("correct horse", line)
    assert not verify_password("correct hors", line)
    assert Settings.model_validate({"web": {"password": line}}).web.password == line


@pytest.mark.parametrize(
    ("rules", "user"),
    [(AccessRules(user_header="x-forwarded-user"), "Gräce⟨0085⟩"), (AccessRules(hosts=("localhost",)), None)],
)
def test_only_a_proxy_says_who_it_is(rules: AccessRules, user: str | None) -> None:
    seen: list[str | None] = []

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(user_of(Headers(scope=scope).items()))

    given = {"host": "localhost", "x-forwarded-user": "Gräce\x85", "x-scanmill-user": "Mallory"}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    scope = {"type": "http", "path": "/", "scheme": "http", "headers": headers, "client": ("127.0.0.1", 50000)}
    asyncio.run(AuthMiddleware(page, rules)(scope, never, never))
    assert seen == [user]


async def never(*_: Any) -> Any:
    raise AssertionError("a gate that lets in says nothing itself")


def test_a_record_opens_while_another_jobs_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("name: good\nfields: {number: {type: text}}\n")
    context = WebContext(Settings(root=tmp_path, jobs=tmp_path))
    (tmp_path / "other.yaml").write_text("fields: [no\n")
    found = context.job("good")
    assert found is not None
    assert found.name == "good"
    with pytest.raises(ConfigError, match=r"other\.yaml"):
        context.job("other")
