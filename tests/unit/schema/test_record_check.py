"""A job changes: what was read before is checked with the current fields and rules, wherever it is shown."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.types import Approval, Record
from pipeline.schema.job import Job, parse_job
from pipeline.storage import corrections
from pipeline.storage.job_table import JobTable
from pipeline.storage.record_json import from_json, to_json
from pipeline.storage.record_store import RecordStore
from tests.unit.extraction.test_extract import DOCUMENT, GOOD, JOB, read, reply

READ_ON = datetime(2024, 7, 1, tzinfo=UTC)
PHONES = {"type": "list", "item": {"type": "text"}}
FIELDS: dict[str, Any] = {
    "number": {"type": "text"},
    "issued": {"type": "date"},
    "total": {"type": "money", "required": True},
    "seller": {"type": "group", "fields": {"name": {"type": "text"}, "phones": PHONES}},
    "lines": {"type": "list", "fields": {"what": {"type": "text"}, "amount": {"type": "money", "required": True}}},
}
RULES = ["sum(lines.amount) == total", "issued <= today"]


def job(rules: list[str] = RULES, more: dict[str, Any] | None = None, **fields: Any) -> Job:
    """The job of test_extract with other fields; one that is None is left out."""
    whole = {name: each for name, each in {**FIELDS, **fields}.items() if each is not None}
    return Job.model_validate({"name": "bill", "fields": whole, "rules": rules, "tolerance": "0.02", **(more or {})})


def old(answer: dict[str, Any] = GOOD, under: Job = JOB, **changes: Any) -> Record:
    return replace(read(reply(answer, job=under), job=under), day=READ_ON.date(), processed_at=READ_ON, **changes)


def seen(record: Record, under: Job) -> Record:
    """The record as its file says, read under another form of the job."""
    return from_json(to_json(record), under)


def codes(record: Record) -> list[tuple[str, str]]:
    return [(issue.code, issue.path) for issue in record.issues]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (job(number={"type": "integer", "required": True}), [("wrong_type", "number")]),
        (job(number={"type": "integer"}), [("wrong_type", "number")]),  # a null would say that nothing stands there
        (job(due={"type": "date", "required": True}), [("missing", "due")]),
        (job(due={"type": "date"}), []),
        (job(buyer={"type": "group", "required": True, "fields": {"name": {"type": "text"}}}), [("missing", "buyer")]),
        (job(buyer={"type": "group", "fields": {"name": {"type": "text"}}}), []),
        (job(notes={"type": "list", "item": {"type": "text"}, "required": True}), [("missing", "notes")]),
        (job(number={"type": "text", "pattern": "B[0-9]"}), [("not_allowed", "number")]),
        (job(number={"type": "choice", "options": ["B1", "B2"]}), [("not_allowed", "number")]),
        (job(total={"type": "money", "maximum": 20}), [("not_allowed", "total")]),
        (job(rules=[*RULES, "total > 100"]), [("rule_failed", "total")]),
        (job(seller={"type": "text"}), [("wrong_type", "seller")]),
        (job(rules=[], lines=PHONES), [("wrong_type", "lines[0]"), ("wrong_type", "lines[1]")]),
        (job(rules=[], lines={"type": "text"}), [("wrong_type", "lines")]),
        (job(number={"type": "list", "fields": {"a": {"type": "text"}}}), [("wrong_type", "number")]),
        (job(number=None), []),
    ],
)  # fmt: skip
def test_an_old_record_is_what_the_job_of_today_says(changed: Job, found: list[tuple[str, str]]) -> None:
    record = seen(old(), changed)
    assert codes(record) == found
    assert record.status == ("review" if found else "ok")
    assert codes(seen(record, changed)) == found  # and again


def test_what_the_record_said_of_itself_stays_where_it_still_holds() -> None:
    short = old({**GOOD, "issued": "soon", "total": None})
    assert codes(short) == [("wrong_type", "issued"), ("missing", "total")]
    assert seen(short, job(more={"instructions": "Look twice."})).issues == short.issues
    assert codes(seen(short, job(issued=None, rules=[]))) == [("missing", "total")]
    assert codes(seen(short, job(total={"type": "money"}))) == [("wrong_type", "issued")]


def test_confidence_is_weighed_anew() -> None:
    sure = old(confidence={"total": 0.6, "number": 0.9})
    assert codes(seen(sure, job(more={"review_below": 0.7}))) == [("doubtful", "total")]
    doubted = seen(sure, job(more={"review_below": 0.7}))
    assert codes(seen(doubted, job(more={"review_below": 0.4}))) == []


def test_rules_know_the_day_on_which_it_was_read() -> None:
    assert codes(seen(old({**GOOD, "issued": "02.07.2024"}), job(more={"role": "You read."}))) == [
        ("rule_failed", "issued")
    ]


def test_a_measure_whose_unit_changed_is_for_review() -> None:
    before, after = (
        parse_job(f"name: bill\nfields: {{p: {{type: measure, unit: {unit}}}}}".encode()) for unit in ("kPa", "bar")
    )
    record = old({"p": "1.2 MPa"}, under=before)
    assert (record.data["p"], record.status) == (1200.0, "ok")
    assert codes(seen(record, after)) == [("conflict", "p")]


def test_failed_records_stay_failed() -> None:
    record = old(error=("broken", "page 1"), data={})
    assert seen(record, job(due={"type": "date", "required": True})).issues == ()


def test_an_approval_stands_for_what_there_was_to_see() -> None:
    approved = old({**GOOD, "total": None}, approved=Approval(READ_ON, "Ada"))
    assert seen(approved, job(more={"role": "You read."})).status == "ok"
    due = seen(approved, job(due={"type": "date", "required": True}))
    assert (due.status, due.approved) == ("review", None)


TEXT = (
    st.none()
    | st.sampled_from(["A 1", "null", "-", "12,50 €", "1.234", "31.02.2024", "2024-06-15", "0"])
    | st.text(max_size=6)
)
CORNERS = st.lists(st.integers(0, 90), min_size=4, max_size=4)
ANSWER = st.fixed_dictionaries(
    {
        "number": TEXT,
        "issued": TEXT,
        "total": TEXT | st.integers(-9, 9) | st.floats(-9, 9),
        "seller": st.none() | st.fixed_dictionaries({"name": TEXT, "phones": st.none() | st.lists(TEXT, max_size=2)}),
        "lines": st.none() | st.lists(st.none() | st.fixed_dictionaries({"what": TEXT, "amount": TEXT}), max_size=3),
        "at": TEXT,
        "paid": TEXT | st.booleans(),
        "kind": TEXT | st.sampled_from(["a", "b"]),
        "kinds": st.none() | st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
        "pressure": TEXT | st.sampled_from(["1.2 MPa", "3 bar", "7"]),
        "code": TEXT | st.sampled_from(["[1]", "{"]),
        "stamp": st.none() | st.fixed_dictionaries({"bbox_2d": CORNERS, "page": st.just(1)}),
    }
)
EVERY = {
    "at": {"type": "time"},
    "paid": {"type": "yesno"},
    "kind": {"type": "choice", "options": ["a", "b"]},
    "kinds": {"type": "choice", "options": ["a", "b"], "many": True, "required": True},
    "pressure": {"type": "measure", "unit": "kPa"},
    "code": {"type": "code", "language": "json"},
    "stamp": {"type": "box", "required": True},
}


@given(ANSWER)
@settings(deadline=None, max_examples=150)
def test_a_change_that_asks_nothing_new_changes_no_issue(answer: dict[str, Any]) -> None:
    """Whatever an engine answers: judged again by the same fields and rules, a record says what it said."""
    before, after = job(**EVERY), job(**EVERY, more={"instructions": "Read with care."})
    assert before.digest != after.digest
    record = old(answer, under=before)
    assert sorted(codes(seen(record, after))) == sorted(codes(record))
    assert seen(record, after).data == seen(record, before).data


def rows(root: Path) -> list[tuple[str, Any]]:
    import pandas as pd

    table = pd.read_parquet(root / "results" / "bill")
    return list(zip(table["status"], table["number"], strict=True))


def test_table_and_page_say_the_same_and_corrections_stay(tmp_path: Path) -> None:
    """The fault of the issue: `ok` with null in a required column."""
    store, table = RecordStore(tmp_path), JobTable(tmp_path, JOB)
    first, second = (old(document=replace(DOCUMENT, id=digit * 64)) for digit in "ab")
    for each in (first, second):
        table.add(store.commit([each]))
    table.flush()
    draft = corrections.open_draft(tmp_path, JOB, second.document.id, None)
    corrections.save(tmp_path, draft, {"number": "7"}, by="Ada")
    changed = job(number={"type": "integer", "required": True})
    assert rows(tmp_path) == [("ok", "A1"), ("ok", "7")]
    assert JobTable(tmp_path, changed).repair()[1] == (
        "bill: 2 of 2 records were read under another form of the job; checked with the current fields and rules, 2 of "
        "them are for review. To have them read anew, drop their originals again"
    )
    assert [status for status, _ in rows(tmp_path)] == ["review", "review"]
    draft = corrections.open_draft(tmp_path, changed, second.document.id, None)
    assert codes(draft.record) == [("wrong_type", "number")]
    assert [each.person for each in draft.record.corrections] == ["7"]
    saved = corrections.save(tmp_path, draft, {"number": "7"}, by="Ada")
    assert (saved.record.status, saved.record.data["number"]) == ("ok", 7)
    assert rows(tmp_path)[1] == ("ok", 7)
    assert JobTable(tmp_path, changed).repair() == []


def test_a_draft_of_an_older_job_can_be_corrected_whatever_the_shape(tmp_path: Path) -> None:
    RecordStore(tmp_path).commit([old()])
    changed = job(
        rules=[],
        number={"type": "list", "fields": {"a": {"type": "text"}}},
        buyer={"type": "group", "fields": {"name": {"type": "text"}}},
    )
    draft = corrections.open_draft(tmp_path, changed, DOCUMENT.id, None)
    saved = corrections.save(tmp_path, draft, {"buyer.name": "Ada", "issued": "16.06.2024"})
    assert saved.record.data["buyer"] == {"name": "Ada"}
    assert saved.record.data["issued"] == date(2024, 6, 16)
