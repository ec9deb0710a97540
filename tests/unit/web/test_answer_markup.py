"""Replies written by hand in the forms in which Qwen2.5-VL answers, through the shipped jobs: prompt → echo → extract.

A page is shown at half its size, so that a box in the picture is twice as large in the record.
"""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scripted.echo import EchoEngine
from pipeline.core.geometry import Affine
from pipeline.core.types import Document, Page, Record
from pipeline.extraction import prompt
from pipeline.extraction.extract import extract
from pipeline.schema.fields import leaf_values
from pipeline.schema.job import load_jobs

PROJECT = Path(__file__).parents[3]
JOBS = {job.name: job for job in load_jobs(PROJECT / "jobs")}
DOCUMENT = Document("ab" * 32, "a.jpg", Path("a.jpg"), "box", datetime(2025, 6, 15, tzinfo=UTC), 9)
TRUTH = [json.loads(line) for line in (PROJECT / "samples" / "truth.jsonl").read_text("utf-8").splitlines()]


def read(job: str, reply: str) -> Record:
    page = Page(1, 1008, 1400, Affine(2, 0, 0, 0, 2, 0), source_px=(2016, 2800))
    (answer,) = EchoEngine({"*": reply}).answer([prompt.ask(JOBS[job], DOCUMENT, [page])])
    number = 1 if JOBS[job].per == "page" else None
    return extract(JOBS[job], DOCUMENT, number, [answer], {"engine": "echo"}, today=date(2025, 7, 1))


def values(record: Record) -> dict[str, Any]:
    return {path: value for path, _, value in leaf_values(JOBS[record.job].fields, record.data)}


def codes(record: Record) -> set[str]:
    return {issue.code for issue in record.issues}


def box(x: float, y: float, width: float, height: float) -> dict[str, float]:
    return {"page": 1, "x": x, "y": y, "width": width, "height": height}


CASES: list[tuple[str, str, str, dict[str, Any], set[str]]] = [
    # --- invoices and receipts: fences, prose, money of three countries
    (
        "json in a fence, German money and date",
        "invoice",
        '```json\n{"invoice_number": "RE-7", "issue_date": "14.03.2025", "currency": "€", "supplier":'
        ' {"name": "Acme GmbH"}, "lines": [{"description": "Schraube", "quantity": "1.200", "unit_price": "0,0250",'
        ' "amount": "30,00 €"}],'
        ' "net_total": "1.234,56", "tax_total": "234,57", "total": "1.469,13 €"}\n```',
        {
            "invoice_number": "RE-7",
            "issue_date": date(2025, 3, 14),
            "currency": "EUR",
            "lines[0].unit_price": Decimal("0.0250"),
            "lines[0].amount": Decimal("30.00"),
            "net_total": Decimal("1234.56"),
            "total": Decimal("1469.13"),
        },
        {"rule_failed", "wrong_type"},  # the lines are not the sum, and 1.200 can be read in two ways
    ),
    (
        "prose around the answer, Swiss money",
        "invoice",
        "Here is the JSON you asked for:\n\n"
        '{"invoice_number": "CH-9", "issue_date": "3. März 2025", "currency": "Fr.", "total": "12\'500.--",'
        ' "supplier": {"name": "Uhren AG"}, "lines": []}\n\nI hope this helps! {smile}',
        {"issue_date": date(2025, 3, 3), "currency": "CHF", "total": Decimal("12500.00"), "lines": None},
        set(),
    ),
    (
        "numbers as JSON numbers, American grouping in text",
        "invoice",
        '{"invoice_number": 4711, "issue_date": "2025-03-14", "supplier": {"name": "Acme Inc."}, "total": "$1,469.13",'
        ' "net_total": 1234.56, "tax_total": 234.57, "lines": null}',
        {"invoice_number": "4711", "total": Decimal("1469.13"), "net_total": Decimal("1234.56")},
        set(),
    ),
    (
        "French money with narrow blanks",
        "invoice",
        '{"invoice_number": "F1", "issue_date": "7 février 2025", "supplier": {"name": "Pépinière"},'
        ' "total": "2\\u202f163,12 €", "lines": []}',
        {"issue_date": date(2025, 2, 7), "total": Decimal("2163.12")},
        set(),
    ),
    (
        "the answer twice is the first answer",
        "receipt",
        '{"company": "Copper Kettle", "date": "14/02/2025", "total": "42.05"}\n\n'
        '{"company": "Other", "date": "15/02/2025", "total": "1.00"}',
        {"company": "Copper Kettle", "date": date(2025, 2, 14), "total": Decimal("42.05")},
        set(),
    ),
    (
        "half-finished JSON keeps what is whole",
        "receipt",
        '<length>{"company": "Copper Kettle", "date": "2025-02-14", "total": "42.05", "lines": '
        '[{"description": "Scone", "amount": "4.20"}, {"description": "Tea wi',
        {"company": "Copper Kettle", "total": Decimal("42.05"), "lines[0].amount": Decimal("4.20")},
        {"truncated"},
    ),
    ("an answer to something else", "table", '{"Table": [["A", "B"], ["1", "2"]]}', {"rows": None},
     {"not_json", "missing"}),
    ("no JSON at all", "receipt", "I cannot read this receipt.", {"total": None}, {"not_json", "missing"}),
    ("a value that is no amount", "receipt", '{"company": "A", "date": "2025-02-14", "total": "about forty"}',
     {"total": None}, {"wrong_type"}),
    ("an invented word for a choice", "receipt",
     '{"company": "A", "date": "2025-02-14", "total": 5, "payment": "shells"}', {"payment": None}, {"not_allowed"}),
    # --- Chinese forms: dates, full-width digits
    (
        "Chinese date, full-width digits, ticks",
        "inspection_form",
        '{"设备编号": "SB-0417", "设备名称": "循环水泵", "巡检日期": "2024年6月15日", "巡检人": "许知远", "检查项": ['
        '{"项目": "轴承温度", "结果": "√", "备注": null}, {"项目": "振动值", "结果": "异常", "备注": "６.２mm/s"}],'
        ' "异常项": ["振动值"], "结论": "限期整改"}',
        {"巡检日期": date(2024, 6, 15), "检查项[0].结果": "正常", "检查项[1].结果": "异常", "异常项[0]": "振动值"},
        set(),
    ),
    (
        "full-width digits in a date",
        "inspection_form",
        '```\n{"设备编号": "A1", "巡检日期": "２０２４年０６月１５日", "巡检人": "王",'
        ' "检查项": [], "异常项": []}\n```',
        {"巡检日期": date(2024, 6, 15)},
        set(),
    ),
    (
        "more that is wrong than was looked at",
        "inspection_form",
        '{"设备编号": "A1", "巡检日期": "2024-06-15", "巡检人": "王", "检查项": [], "异常项": ["振动值"]}',
        {"异常项[0]": "振动值"},
        {"rule_failed"},
    ),
    (
        "a list that says that there is nothing",
        "inspection_form",
        '{"设备编号": "A1", "巡检日期": "2024-06-15", "巡检人": "王", "检查项": [], "异常项": ["无。"]}',
        {"异常项": None, "异常项[0]": None},
        set(),
    ),
    # --- a dial
    (
        "a dial with a box, in other units",
        "gauge",
        '```json\n{"dial": {"bbox_2d": [58, 46, 654, 640], "page": 1}, "reading": "1.15MPa", "range_from": "0",'
        ' "range_to": "16 bar", "mark": "1000 kPa", "beyond_mark": true}\n```',
        {"dial": box(116, 92, 1192, 1188), "reading": 1.15, "range_from": 0.0, "range_to": 1.6, "mark": 1.0,
         "beyond_mark": True},
        set(),
    ),
    (
        "a dial that contradicts itself",
        "gauge",
        '{"dial": [58, 46, 654, 640], "reading": "1.15 MPa", "range_to": "1.6 MPa", "mark": "1.0 MPa",'
        ' "beyond_mark": "no"}',
        {"reading": 1.15, "beyond_mark": False},
        {"rule_failed"},
    ),
    ("a dial in another dimension", "gauge",
     '{"dial": [58, 46, 654, 640], "reading": "85 °C"}', {"reading": None}, {"wrong_type"}),
    # --- boxes: Qwen's own list, with and without a fence; bad boxes
    (
        "a list of bbox_2d at the top",
        "solder_faults",
        '```json\n[\n\t{"bbox_2d": [230, 138, 298, 168], "label": "solder bridge"},\n'
        '\t{"bbox_2d": [520, 420, 540, 440], "label": "ball", "note": "loose"}\n]\n```',
        {"faults[0].box": box(460, 276, 136, 60), "faults[0].label": "solder bridge", "faults[1].label": "solder ball",
         "faults[1].note": "loose"},
        set(),
    ),
    (
        "a list that breaks off keeps its whole rows",
        "solder_faults",
        '<length>[{"bbox_2d": [230, 138, 298, 168], "label": "solder bridge"}, {"bbox_2d": [520, 420, 5',
        {"faults[0].box": box(460, 276, 136, 60)},
        {"truncated"},
    ),
    ("an empty list is a board without faults", "solder_faults", "```json\n[]\n```", {"faults": None}, set()),
    (
        "an inverted box, an empty one, and one beyond the edge",
        "solder_faults",
        '{"faults": [{"box": {"bbox_2d": [298, 168, 230, 138], "page": 1}, "label": "other"},'
        ' {"box": {"bbox_2d": [10, 10, 10, 40], "page": 1}, "label": "other"},'
        ' {"box": {"bbox_2d": [900, 1300, 1100, 1500], "page": 1}, "label": "other"}]}',
        {"faults[0].box": None, "faults[1].box": None, "faults[2].box": box(1800, 2600, 216, 200)},
        {"bad_box"},
    ),
    (
        "marks as a list, in words of the seal",
        "marks",
        '[{"bbox_2d": [584, 593, 755, 706], "kind": "公章", "words": "ACCEPTED"},'
        ' {"bbox_2d": [116, 742, 284, 798], "kind": "signature", "words": "I. Marlow"}]',
        {"marks[0].kind": "stamp", "marks[0].box": box(1168, 1186, 342, 226), "marks[1].kind": "signature"},
        set(),
    ),
    # --- free text
    ("a description is taken as it is", "describe", "A loading bay.\n\nThree cartons block the door marked 3.\n",
     {"description": "A loading bay.\n\nThree cartons block the door marked 3."}, set()),
    ("a description in JSON after all", "describe", '{"description": "A loading bay."}',
     {"description": "A loading bay."}, set()),
    ("a description that is not there", "describe", "null", {"description": None}, set()),
    ("code between sentences", "ui_to_code",
     "Sure! Here it is:\n```vue\n<template>\n  <p>Hi</p>\n</template>\n\n<script setup>\n</script>\n```\nEnjoy.",
     {"code": "<template>\n  <p>Hi</p>\n</template>\n\n<script setup>\n</script>"}, set()),
    ("a Vue file without its script", "ui_to_code", "```vue\n<template>\n  <p>Hi</p>\n</template>\n```",
     {"code": "<template>\n  <p>Hi</p>\n</template>"}, {"bad_text"}),
    ("code without a fence", "ui_to_html", "<!doctype html>\n<title>A</title>\n<p>Hi</p>",
     {"code": "<!doctype html>\n<title>A</title>\n<p>Hi</p>"}, set()),
    ("HTML that is cut off", "ui_to_html", "<length>```html\n<!doctype html>\n<main>\n<p>Hi", {},
     {"truncated", "bad_text"}),
    ("a translation with a heading", "translate", "Water to be cut off\n\nCall 01 99 00 41 70.",
     {"translation": "Water to be cut off\n\nCall 01 99 00 41 70."}, set()),
    (
        "a table as Markdown and rows",
        "table",
        json.dumps({"markdown": "| A | B |\n|---|---|\n| 1 | 2 |", "rows": ["A | B", "1 | 2"]}),
        {"markdown": "| A | B |\n|---|---|\n| 1 | 2 |", "rows[0]": "A | B", "rows[1]": "1 | 2"},
        set(),
    ),
    (
        "a figure with findings and an impression",
        "figure_report",
        '```json\n{"modality": "ct", "region": "chest", "caption": "Figure 3.", "findings": ["Nodule of 14 mm.",'
        ' "Small effusion."], "impression": "A nodule.\\nAn effusion."}\n```',
        {"modality": "CT", "findings[1]": "Small effusion.", "impression": "A nodule.\nAn effusion."},
        set(),
    ),
    (
        "a delivery note with a quantity in full-width digits",
        "delivery_note",
        '{"delivery_number": "SH-1", "delivery_date": "2024年10月25日", "supplier": {"name": "清窑镇拾陶瓷器厂"},'
        ' "lines": [{"description": "茶杯", "quantity": "１２０", "unit": "个"}]}',
        {"delivery_date": date(2024, 10, 25), "lines[0].quantity": Decimal(120)},
        set(),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("job", "reply", "known", "issues"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_a_reply_gives_the_known_values(job: str, reply: str, known: dict[str, Any], issues: set[str]) -> None:
    record = read(job, reply)
    found = values(record)
    assert {path: found.get(path) for path in known} == known
    assert codes(record) == issues


@pytest.mark.parametrize("line", TRUTH, ids=lambda line: f"{line['job']}: {line['file']}")
def test_the_truth_of_every_sample_reads_back_as_itself(line: dict[str, Any]) -> None:
    """Said by the model in full, the known answer of each sample gives a record without an issue."""
    if line["meta"]["expected"] != "ok":
        pytest.skip("nothing to read on it")
    job, said = JOBS[line["job"]], line["fields"] | line["norm"]
    only = next(iter(said.values()))
    record = read(job.name, only if len(said) == 1 and isinstance(only, str) else json.dumps(said, ensure_ascii=False))
    assert codes(record) == set()
    mentioned = json.dumps(record.data, ensure_ascii=False, default=str)
    assert all(words in mentioned for words in line["meta"].get("mentions", ()))


SPOILS: list[Callable[[str, int], str]] = [
    lambda text, at: text[:at],
    lambda text, at: f"<length>{text[:at]}",
    lambda text, at: text[:at] + text[at + 1 :],
    lambda text, at: text[:at] + "\\" + text[at:],
    lambda text, at: text[at:] + text[:at],
    lambda text, at: f"{text[:at]}\n```\n{text[at:]}",
]


@given(st.sampled_from([(case[1], case[2]) for case in CASES]), st.integers(0, 400), st.sampled_from(SPOILS))
def test_a_spoiled_reply_gives_a_record_whose_values_all_stand_in_it(
    case: tuple[str, str], at: int, spoil: Callable[[str, int], str]
) -> None:
    """Never an exception, and no amount, date or box that the reply does not say in its digits."""
    job, whole = case
    reply = spoil(whole, at % (len(whole) + 1))
    record = read(job, reply)
    for path, field, value in leaf_values(JOBS[job].fields, record.data):
        if value is not None and field.type == "money":
            digits = str(abs(value)).replace(".", "").strip("0")
            assert digits in "".join(c for c in reply if c.isdecimal()), (path, value)
