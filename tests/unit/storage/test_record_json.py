"""A record survives JSON: every digit, every byte of a name, every type of its job."""

import json
import math
import os
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.geometry import Box
from pipeline.core.types import Document, Evidence, Issue, Record
from pipeline.schema.job import Job
from pipeline.storage.record_json import from_json, to_json

JOB = Job.model_validate(
    {
        "name": "rechnung",
        "fields": {
            "nummer": {"type": "text"},
            "tag": {"type": "date"},
            "uhrzeit": {"type": "time"},
            "summe": {"type": "money"},
            "menge": {"type": "number"},
            "anzahl": {"type": "integer"},
            "druck": {"type": "measure", "unit": "kPa"},
            "bezahlt": {"type": "yesno"},
            "arten": {"type": "choice", "options": ["a", "b"], "many": True},
            "供应商": {"type": "group", "fields": {"名称": {"type": "text"}, "税": {"type": "money"}}},
            "zeilen": {"type": "list", "fields": {"text": {"type": "text"}, "betrag": {"type": "money"}}},
            "seriennummern": {"type": "list", "item": {"type": "text"}},
        },
    }
)
MOMENT = datetime(2026, 11, 22, 3, 4, 5, 678, tzinfo=UTC)


def record(data: dict[str, Any], name: str = "发票.pdf", **changes: Any) -> Record:
    document = Document("ab" * 32, name, Path(), "box", MOMENT, 17)
    given: dict[str, Any] = {
        "document": document,
        "job": "rechnung",
        "page": None,
        "pages": (1, 2),
        "data": data,
        "confidence": {"summe": 0.875, "zeilen[0].betrag": 0.5},
        "evidence": {"summe": Evidence(2, Box(1.5, 2.0, 30.25, 4.0), "12,50 €"), "tag": Evidence(1, None, "2. Mai")},
        "issues": (Issue("missing", "nummer", "nummer is required"),),
        "error": None,
        "provenance": {"engine": "ocr", "run": "r1", "job_digest": JOB.digest},
        "day": date(2026, 11, 22),
        "processed_at": MOMENT,
    }
    return Record(**(given | changes))


FULL: dict[str, Any] = {
    "nummer": 'R-1 "quoted" \\ \n发票',
    "tag": date(2024, 6, 15),
    "uhrzeit": time(14, 5),
    "summe": Decimal("1234567890123456.70"),
    "menge": 0.1,
    "anzahl": 10**15,
    "druck": 1200.0,
    "druck_printed": "1.2 MPa",
    "bezahlt": False,
    "arten": ["a"],
    "供应商": {"名称": "长江有限公司", "税": None},
    "zeilen": [{"text": None, "betrag": Decimal("-0.10")}, {"text": "x", "betrag": None}],
    "seriennummern": [],
}


def same(one: Record, two: Record) -> bool:
    return all(getattr(one, name) == getattr(two, name) for name in Record.__slots__)


def test_every_type_comes_back_with_its_job() -> None:
    given = record(FULL)
    back = from_json(to_json(given), JOB)
    assert same(back, given)
    assert str(back.data["summe"]) == "1234567890123456.70"
    assert {name: type(value) for name, value in back.data.items()} == {name: type(FULL[name]) for name in FULL}


def test_without_a_job_amounts_stay_exact_and_dates_stay_text() -> None:
    data = from_json(to_json(record(FULL))).data
    assert data["summe"] == Decimal("1234567890123456.70")
    assert data["tag"] == "2024-06-15"


def test_the_file_reads_well_and_any_program_reads_it() -> None:
    text = to_json(record(FULL))
    assert '"名称": "长江有限公司"' in text
    assert '"summe": 1234567890123456.70' in text
    plain = json.loads(text)
    assert plain["document"]["received_at"] == "2026-11-22T03:04:05.000678+00:00"
    assert plain["fields"]["summe"] == {
        "confidence": 0.875,
        "page": 2,
        "box": [1.5, 2.0, 30.25, 4.0],
        "printed": "12,50 €",
    }
    assert plain["status"] == "review"
    assert text.endswith("}\n")


def test_a_failed_document_says_cause_and_cure() -> None:
    given = record({}, error=("encrypted", "AES-256"), confidence={}, evidence={}, issues=(), pages=())
    error = json.loads(to_json(given))["error"]
    assert error["code"] == "encrypted"
    assert "password" in error["cure"]
    back = from_json(to_json(given), JOB)
    assert same(back, given)
    assert back.status == "failed"


def test_numbers_that_json_lacks_are_null() -> None:
    back = from_json(to_json(record({**FULL, "menge": math.nan, "druck": math.inf, "summe": Decimal("NaN")})), JOB)
    assert [back.data[name] for name in ("menge", "druck", "summe")] == [None, None, None]


def test_values_of_an_older_form_of_the_job_are_none_where_they_do_not_fit() -> None:
    older = {
        "nummer": 7,
        "tag": "soon",
        "summe": Decimal("1.005"),
        "anzahl": Decimal("1.5"),
        "bezahlt": "yes",
        "zeilen": {"text": "no list"},
        "供应商": "no group",
        "gone": 1,
    }
    back = from_json(to_json(record(older)), JOB)
    assert back.data == dict.fromkeys(FULL)


def test_values_without_a_place_are_refused() -> None:
    with pytest.raises(TypeError, match="Path cannot be stored in a record"):
        to_json(record({"nummer": Path("x")}))


TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)


@given(
    TEXTS, TEXTS, st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**15), max_value=10**15)
)
@settings(deadline=None)
def test_any_text_and_amount_survive(name: str, text: str, amount: Decimal) -> None:
    given = record({**FULL, "nummer": text, "summe": amount}, name=name)
    encoded = to_json(given).encode("utf-8")  # valid UTF-8, whatever the name
    back = from_json(encoded.decode())
    assert back.data["summe"] == amount
    # as UTF-16, where a high surrogate beside a low one is the one letter that JSON reads
    assert back.document.name.encode("utf-16", "surrogatepass") == name.encode("utf-16", "surrogatepass")
    assert back.data["nummer"].encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_a_name_of_any_bytes_survives() -> None:
    for raw in (b"\xe9t\xe9.pdf", b"a\nb\x01.pdf", b"\\udce9.pdf", "票.pdf".encode()):
        name = os.fsdecode(raw)
        assert os.fsencode(from_json(to_json(record(FULL, name=name)).encode().decode()).document.name) == raw


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"document": {}}', "null"])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        from_json(text)


def test_a_record_whose_keys_hold_other_things_is_refused() -> None:
    """As JSON it is whole; a person or a program wrote something else into it."""
    whole = json.loads(to_json(record(FULL)))
    for key, other in (("fields", "2024-01-01"), ("data", "x"), ("document", []), ("fields", {"a": []})):
        with pytest.raises((ValueError, KeyError, TypeError)):
            from_json(json.dumps(whole | {key: other}), JOB)
    with pytest.raises(ValueError, match="not a record"):
        from_json("[" * 100_000, JOB)
