"""Whole answers over pages drawn in letters, in English, German and Chinese; and nothing that does not stand there."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.ocr import answer
from models.ocr.text import layout
from models.ocr.text.lines import Line
from pipeline.core.geometry import Box
from pipeline.parsing import normalize
from pipeline.schema.fields import coerce_object
from tests.support.lettered import ask, job

RECEIPT = """
! OCEAN VIEW TRADING SDN BHD
(123456-X)
NO 12, JALAN BESAR 3/4,
43800 DENGKIL, SELANGOR.
TEL: 03-8768 6092
TAX INVOICE
Invoice No: CS-00123   Date: 17/03/2018  15:02
Description      Qty   Price   Amount
NAILS 2IN        3     5.00    15.00
PAINT WHITE      1     45.00   45.00
Sub Total                      60.00
GST 6%                         3.60
Rounding Adj                   0.00
TOTAL RM                       63.60
CASH                           100.00
CHANGE                         36.40
Thank you, come again
"""
RECHNUNG = """
! Musterhaus Handel GmbH
Gartenstraße 5, 80333 München
Rechnungsempfänger:
Beispiel & Sohn KG
Hauptstraße 12
69123 Heidelberg
Rechnungsnummer:   R-2024-117
Rechnungsdatum:    5. März 2024
Fällig am:         04.04.2024
Nettobetrag                    1.250,00 EUR
MwSt 19 %                        237,50 EUR
Rechnungsbetrag                1.487,50 EUR
"""
FORM = """
      设备巡检表
编号：SB-2024-018    日期：2024年6月15日
设备名称   离心泵        型号   IS80-65
压力   1.2 MPa      温度   35℃
结果   ☑合格 □不合格     巡检人   王小明
是否漏油   ☑是 □否
"""


def values(fields: dict[str, Any], *pages: str) -> Any:
    return json.loads(ask(fields, *pages).text)


def test_an_english_receipt() -> None:
    fields = {
        "company": {"type": "text", "kind": "company"}, "date": {"type": "date"}, "time": {"type": "time"},
        "address": {"type": "text", "kind": "address"}, "phone": {"type": "text"}, "invoice_number": {"type": "text"},
        "subtotal": {"type": "money"}, "tax": {"type": "money"}, "total": {"type": "money"},
        "currency": {"type": "choice", "options": ["MYR", "USD"]},
    }  # fmt: skip
    assert values(fields, RECEIPT) == {
        "company": "OCEAN VIEW TRADING SDN BHD",
        "date": "2018-03-17",
        "time": "15:02:00",
        "address": "NO 12, JALAN BESAR 3/4, 43800 DENGKIL, SELANGOR.",
        "phone": "03-8768 6092",
        "invoice_number": "CS-00123",
        "subtotal": "60.00",
        "tax": "3.60",
        "total": "63.60",
        "currency": "MYR",
    }


def test_a_german_invoice_without_any_label_in_the_job() -> None:
    fields = {
        "invoice_number": {"type": "text"}, "issue_date": {"type": "date"}, "due_date": {"type": "date"},
        "supplier": {"type": "group", "fields": {"name": {"type": "text"}}},
        "customer": {"type": "group", "fields": {"name": {"type": "text"}}},
        "net_total": {"type": "money"}, "tax_total": {"type": "money"}, "total": {"type": "money"},
        "currency": {"type": "choice", "options": ["EUR", "USD"]},
    }  # fmt: skip
    assert values(fields, RECHNUNG) == {
        "invoice_number": "R-2024-117",
        "issue_date": "2024-03-05",
        "due_date": "2024-04-04",
        "supplier": {"name": "Musterhaus Handel GmbH"},
        "customer": {"name": "Beispiel & Sohn KG"},
        "net_total": "1250.00",
        "tax_total": "237.50",
        "total": "1487.50",
        "currency": "EUR",
    }


def test_a_chinese_form() -> None:
    fields = {
        "设备名称": {"type": "text"}, "型号": {"type": "text"}, "巡检人": {"type": "text", "kind": "name"},
        "日期": {"type": "date", "order": "YMD"}, "压力": {"type": "measure", "unit": "kPa"},
        "温度": {"type": "measure", "unit": "degC"}, "结果": {"type": "choice", "options": ["合格", "不合格"]},
        "漏油": {"type": "yesno", "labels": ["是否漏油"]},
    }  # fmt: skip
    assert values(fields, FORM) == {
        "设备名称": "离心泵", "型号": "IS80-65", "巡检人": "王小明", "日期": "2024-06-15", "压力": "1.2 MPa",
        "温度": "35℃",
        "结果": "合格", "漏油": True,
    }  # fmt: skip


def test_evidence_says_what_is_printed_and_where() -> None:
    told = ask({"total": {"type": "money"}, "issue_date": {"type": "date"}}, "Remarks: none", RECHNUNG)
    assert told.evidence["total"].text == "1.487,50 EUR"
    assert told.evidence["issue_date"].text == "5. März 2024"
    assert told.evidence["total"].page == 2
    box = told.evidence["total"].box
    assert box is not None
    assert (box.x, box.y, box.width) == (360.0, 380.0, 120.0)
    assert 0 < told.confidence["total"] <= 1


def test_null_beats_a_guess() -> None:
    fields = {
        "total": {"type": "money"},
        "date": {"type": "date"},
        "serial": {"type": "text"},
        "weight": {"type": "number"},
    }
    assert values(fields, "Dear Sir,\nplease find the terms below.\nKind regards") == dict.fromkeys(fields)
    assert values(fields) == dict.fromkeys(fields)


def typed(fields: dict[str, Any], page: str) -> tuple[dict[str, Any], list[str]]:
    """What the record says, and the codes of its issues."""
    data, problems = coerce_object(job(fields).fields, values(fields, page))
    return data, [problem.code for problem in problems]


SIGNED = """
Description      Qty     Price      Amount
Schrauben        2,5     4,00       10,00
Muttern          3       1.000,00   3.000,00
Total                               3.010,00
Weight           1.234
"""


@pytest.mark.parametrize(
    ("decimal", "weight", "total", "quantity"),
    [(",", 1234.0, "3010.00", 2.5), (".", 1.234, None, None), (None, None, "3010.00", 2.5)],
)
def test_the_sign_that_the_job_names_is_kept_and_what_reads_in_two_ways_is_null(
    decimal: str | None, weight: float | None, total: str | None, quantity: float | None
) -> None:
    sign = {"decimal": decimal} if decimal else {}
    kinds = {"description": "text", "quantity": "number", "unit_price": "money", "amount": "money"}
    row = {name: {"type": kind} | (sign if kind != "text" else {}) for name, kind in kinds.items()}
    fields = {
        "total": {"type": "money", **sign},
        "weight": {"type": "number", **sign},
        "lines": {"type": "list", "fields": row},
    }
    data, codes = typed(fields, SIGNED)
    assert (data["weight"], data["total"] and str(data["total"])) == (weight, total)
    assert [line["quantity"] for line in data["lines"][:1]] == ([quantity] if quantity else [])
    assert codes == ([] if decimal else ["wrong_type"])


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("1.2 MPa", 1200.0),
        ("12bar", 1200.0),
        ("35", 35.0),
        ("35   ok", 35.0),
        ("12 bar (172 psi)", 1200.0),
        ("5 kg", None),
        ("12 ber", None),  # read with a wrong letter: it is no 12 kPa
        ("40 %", None),
        ("20~30 kPa", None),
        ("35 to 40 kPa", None),
        ("> 12 bar", None),
        ("12½", None),
        ("12 x 8 kPa", None),
        ("1.234", None),
    ],
)
@pytest.mark.parametrize("label", ["Pressure   ", "Pressure: "])
def test_a_measure_is_what_is_printed_with_its_unit_or_null(printed: str, value: float | None, label: str) -> None:
    data, codes = typed({"pressure": {"type": "measure", "unit": "kPa"}}, label + printed)
    said = printed.removesuffix("   ok").removesuffix(" (172 psi)")
    assert data == {"pressure": value, "pressure_printed": said}
    assert codes == ([] if value else ["wrong_type"])


@pytest.mark.parametrize(
    ("label", "value"),
    [("Pressure (MPa)", 1200.0), ("Pressure/bar", 120.0), ("Pressure in kPa", 1.2), ("Pressure (kg)", None)],
)
def test_the_unit_in_the_heading_counts_for_numbers_without_one(label: str, value: float | None) -> None:
    pressure = {"type": "measure", "unit": "kPa"}
    data, codes = typed({"pressure": pressure}, f"{label}:   1.2")
    assert (data["pressure"], codes) == (value, [] if value else ["wrong_type"])
    fields = {"rows": {"type": "list", "fields": {"point": {"type": "text"}, "pressure": pressure}}}
    data, _ = typed(fields, f"Point   {label}\nPump    1.2\nValve   5 kPa")
    assert [row["pressure"] for row in data["rows"]] == [value, 5.0]


def test_measures_in_a_table_keep_their_units() -> None:
    pressure = {"type": "measure", "unit": "kPa"}
    fields = {"rows": {"type": "list", "fields": {"point": {"type": "text"}, "pressure": pressure}}}
    data, codes = typed(fields, "Point   Pressure\nPump    1.2 MPa\nValve    5 kg\nFilter    35")
    assert [row["pressure"] for row in data["rows"]] == [1200.0, None, 35.0]
    assert [row["pressure_printed"] for row in data["rows"]] == ["1.2 MPa", "5 kg", "35"]
    assert codes == ["wrong_type"]


def test_a_credit_note_keeps_its_minus() -> None:
    assert values({"total": {"type": "money"}}, "CREDIT NOTE\nTotal   -1.73") == {"total": "-1.73"}


def test_a_region_looks_at_a_part_of_the_page() -> None:
    page = "Date: 01/02/2020\n" + "x\n" * 30 + "Date: 03/04/2021"
    low = {"left": 0, "top": 0.5, "width": 1, "height": 0.5}
    assert values({"date": {"type": "date", "region": low}}, page) == {"date": "2021-04-03"}


def test_a_period_has_two_ends() -> None:
    labels = ["Flight Dates"]
    fields = {"flight_from": {"type": "date", "labels": labels}, "flight_to": {"type": "date", "labels": labels}}
    page = "Invoice Date: 09/09/2020\nFlight Dates   01/06/2020 - 07/06/2020"
    assert values(fields, page) == {"flight_from": "2020-06-01", "flight_to": "2020-06-07"}


@pytest.mark.parametrize(("printed", "items"), [("无", []), ("振动、温度", ["振动", "温度"])])
def test_a_list_that_says_that_there_is_nothing_is_empty(printed: str, items: list[str]) -> None:
    fields = {"异常项": {"type": "list", "item": {"type": "text"}}, "结论": {"type": "text"}}
    data, codes = typed(fields, f"异常项：{printed}\n结论：可继续运行")
    assert [each for each in data["异常项"] if each] == items
    assert codes == []


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("合格 / 不合格", None),  # which one a pen has ringed cannot be read
        ("合格   不合格", None),
        ("□合格 □不合格", None),
        ("□合格 ☑不合格", "异常"),
        ("不合格", "异常"),
        ("合格   温度：不合格", "正常"),
    ],
)
def test_options_that_nobody_marked_are_no_answer(printed: str, value: str | None) -> None:
    result = {"type": "choice", "options": {"正常": ["合格"], "异常": ["不合格"]}}
    data, codes = typed({"结果": result}, f"结果：{printed}")
    assert (data["结果"], codes) == (value, [])


def test_several_choices() -> None:
    fields = {"goods": {"type": "choice", "many": True, "options": ["paper", "ink", "glue"]}}
    assert values(fields, "goods   ☑ paper □ ink ☑ glue") == {"goods": ["paper", "glue"]}


ASKED = {
    "company": {"type": "text", "kind": "company"}, "address": {"type": "text", "kind": "address"},
    "note": {"type": "text"},
    "total": {"type": "money"}, "date": {"type": "date"}, "time": {"type": "time"}, "invoice_number": {"type": "text"},
    "phone": {"type": "text"}, "count": {"type": "integer"}, "size": {"type": "measure", "unit": "mm"},
    "ok": {"type": "yesno"},
    "mail": {"type": "text", "kind": "email"}, "web": {"type": "text", "kind": "url"},
}  # fmt: skip
WORDS = st.sampled_from(
    [
        "Total",
        "Date:",
        "12.50",
        "17/03/2018",
        "Invoice No",
        "A-12",
        "Ltd",
        "No 5,",
        "43800",
        "合计",
        "☑是",
        "5 mm",
        "\ud83d",
        "I0l",
        "Note:",
        "OK",
    ]
)
PLACES = st.tuples(st.floats(0, 900), st.floats(0, 1300), st.floats(1, 300), st.floats(1, 40))
RANDOM_LINES = st.lists(
    st.builds(
        lambda text, place, score: Line(text, Box(*place), score),
        st.one_of(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), st.text(max_size=12)), PLACES, st.floats(0, 1),
    ),
    max_size=25,
)  # fmt: skip


@given(RANDOM_LINES)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
def test_any_lines_give_an_answer_and_only_what_stands_on_them(found: list[Line]) -> None:
    told = answer.answer([(1, layout.page_layout(found, 1000, 1400))], job(ASKED))
    data = json.loads(told.text)
    assert set(data) == set(ASKED)
    stand = [plain(layout.mend(line.text.encode("utf-8", "replace").decode())) for line in found]
    for path, evidence in told.evidence.items():
        assert data[path] is not None
        assert 0 < told.confidence[path] <= 1
        for word in evidence.text.split():
            pieces = [plain(piece) for piece in re.split(r"\W", word)]  # Chinese lines are joined without a blank
            assert all(any(piece in line for line in stand) or normalize.is_cjk(evidence.text) for piece in pieces), (
                word
            )


def plain(text: str) -> str:
    return normalize.unaccented(normalize.squash(text))


@pytest.mark.parametrize("kind", ["company", "address", "id", "phone", "email", "url", "name", ""])
def test_every_kind_of_text_has_a_finder(kind: str) -> None:
    page = "Value: Aurora Paper Ltd, 5 Main Street, 12345 Town  +49 30 123456  a@b.com  www.b.com"
    told = ask({"value": {"type": "text", "kind": kind}}, page)
    assert set(json.loads(told.text)) == {"value"}
