"""Where values stand: found in the text layer by what they mean, in source pixels."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.geometry import Affine, Box
from pipeline.core.types import Document, Evidence, Page, Record, Word
from pipeline.extraction import evidence
from pipeline.schema.job import Job, parse_job

DOCUMENT = Document("ab" * 32, "a.pdf", Path("a.pdf"), "bills", datetime(2024, 6, 15, tzinfo=UTC), 9)
JOB = parse_job(
    b"""\
name: bill
fields:
  number: {type: text, kind: id}
  seller: {type: text}
  issued: {type: date}
  at: {type: time}
  weight: {type: measure, unit: g}
  net: {type: money, labels: [Net]}
  total: {type: money, labels: [Total, Amount due]}
  lines: {type: list, fields: {what: {type: text}, amount: {type: money}}}
"""
)
EMPTY: dict[str, Any] = {name: field.nothing().value for name, field in JOB.fields.items()}


def page(*lines: str, number: int = 1, to_source: Affine | None = None, fault: str | None = None) -> Page:
    """A page with one word a word, 10 px a letter, lines 20 px apart."""
    words = []
    for row, line in enumerate(lines):
        x = 0
        for word in line.split(" "):
            words.append(Word(word, Box(x, 20 * row, 10 * len(word), 12)))
            x += 10 * (len(word) + 1)
    return Page(number, 1000, 1000, to_source or Affine(), words=tuple(words), fault=fault)


def locate(data: dict[str, Any], *pages: Page, job: Job = JOB, **given: Any) -> Record:
    record = Record(DOCUMENT, job.name, None, (1,), {**EMPTY, **data}, {}, given.get("evidence", {}), (), None, {})
    return evidence.locate(record, job, pages)


@pytest.mark.parametrize(
    ("path", "value", "line", "text", "x"),
    [
        ("total", Decimal("1234.50"), "Amount due: 1.234,50 EUR", "1.234,50 EUR", 120),
        ("issued", date(2024, 6, 15), "Bonn, 15. Juni 2024", "15. Juni 2024", 60),
        ("at", time(14, 5), "at 2:05 pm", "2:05 pm", 30),
        ("weight", 1200.0, "about 1.2 kg", "1.2 kg", 60),
        ("seller", "Acme GmbH", "by ACME GmbH, Bonn", "ACME GmbH,", 30),
        ("number", "AB-12", "no. ab12 of", "ab12", 40),
        ("seller", "晨光公司", "销售方：晨光公司", "销售方：晨光公司", 0),
    ],
)
def test_a_value_is_found_by_what_it_means(path: str, value: Any, line: str, text: str, x: float) -> None:
    record = locate({path: value}, page("nothing here", line))
    found = record.evidence[path]
    assert found.page == 1
    assert found.box is not None
    assert (found.box.x, found.box.y) == (x, 20)
    assert found.text.strip() == text
    assert record.issues == ()


def test_the_sign_that_the_job_names_is_read_so_on_the_page() -> None:
    job = parse_job(b"name: a\nfields: {weight: {type: number, decimal: '.'}}")
    assert locate({"weight": 1.234}, page("Weight 1.234 t"), job=job).evidence["weight"].text == "1.234"


def test_boxes_are_in_source_pixels_and_cut_at_the_edge() -> None:
    record = locate({"number": "AB-12"}, page("AB-12", to_source=Affine(2, 0, -30, 0, 2, 10)))
    assert record.evidence["number"].box == Box(0, 10, 70, 24)


def test_the_line_with_the_label_is_taken() -> None:
    record = locate({"net": Decimal("5.00"), "total": Decimal("5.00")}, page("Total 5.00", "Net 5.00"))
    assert [record.evidence[path].box.y for path in ("net", "total")] == [20, 0]  # type: ignore[union-attr]


def test_the_values_of_a_row_stand_side_by_side() -> None:
    lines = [{"what": "Bolt", "amount": Decimal("2.00")}, {"what": "Nut", "amount": Decimal("2.00")}]
    record = locate({"lines": lines}, page("Total 2.00", "Bolt 2.00", "Nut 2.00"))
    assert [record.evidence[f"lines[{row}].amount"].box.y for row in (0, 1)] == [20, 40]  # type: ignore[union-attr]


def test_a_text_over_two_lines_gets_one_box() -> None:
    record = locate({"seller": "Acme GmbH\nBonn"}, page("Acme GmbH", "Bonn"))
    assert record.evidence["seller"].box == Box(0, 0, 90, 32)


def test_a_part_of_a_word_or_number_is_no_place() -> None:
    assert locate({"number": "12"}, page("1,234.50 A12B")).evidence == {}
    assert locate({"total": Decimal(12)}, page("1,234.50")).evidence == {}


def test_a_text_that_stands_nowhere_is_unseen() -> None:
    record = locate({"seller": "Invented Ltd", "total": Decimal("9.99")}, page("Acme"), page("Bonn", number=2))
    assert [(issue.code, issue.path) for issue in record.issues] == [("unseen", "seller")]
    assert "Invented Ltd" in record.issues[0].message


def test_nothing_is_called_unseen_where_a_page_has_no_text_layer() -> None:
    assert locate({"seller": "Acme"}, page("Bonn"), Page(2, 9, 9, Affine())).issues == ()
    assert locate({"seller": "Acme"}, Page(2, 9, 9, Affine())).evidence == {}
    torn = Page(2, 9, 9, Affine(), fault="torn")
    assert [issue.code for issue in locate({"seller": "Acme"}, page("Bonn"), torn).issues] == ["unseen"]


def test_what_the_engine_said_stays() -> None:
    own = {"seller": Evidence(1, Box(1, 2, 3, 4), "Acme")}
    assert locate({"seller": "Acme"}, page("Acme"), evidence=own).evidence == own
